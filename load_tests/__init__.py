"""Load on a real server over real sockets: `flashu bench` on any that runs, `python -m load_tests.mixed` on one of its
own.

It knows what the server promises and how to see whether it keeps it; it sees the server as any client does, and nothing
of how it works inside.
"""
