"""Sockets: HTTP/1.1 with bounds."""
