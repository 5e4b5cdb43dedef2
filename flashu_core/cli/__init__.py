"""The command line `flashu`, one command a module."""
