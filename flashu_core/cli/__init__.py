"""The command line `flashu`."""
