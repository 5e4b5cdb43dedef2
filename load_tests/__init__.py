"""Load tests of a real server over real sockets: `bench` (`flashu bench`) measures any running server; `mixed`,
`promises` and `acceptance` start servers of their own and check what docs/promises.md promises. They see the server as
any client does.
"""
