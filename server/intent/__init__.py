"""Which task a request is."""
