"""`flashu bench`: load on any server."""
