"""Load on a real server over real sockets: `python -m load_tests.mixed`.

It knows what the server promises and how to see whether it keeps it; it sees the server as any client does, and nothing
of how it works inside.
"""
