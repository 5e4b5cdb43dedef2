"""Raw sockets, for what no HTTP client does: half a request, single bytes, a response that is never read."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
from collections.abc import AsyncIterator

from load_tests.bench.client import Client

_STATUS = re.compile(rb"HTTP/1\.1 (\d+) ")


@contextlib.asynccontextmanager
async def connected(client: Client, *, receive_buffer: int | None = None) -> AsyncIterator[socket.socket]:
    """A socket to a client's server, for the event loop's `sock_` functions. Unlike with asyncio's streams, a response
    that arrived before a reset can still be read.

    Args:
        receive_buffer: bytes of the kernel's receive buffer; None is its default.
    """
    loop = asyncio.get_running_loop()
    family, kind, protocol, _, address = (await loop.getaddrinfo(client.host, client.port, type=socket.SOCK_STREAM))[0]
    with socket.socket(family, kind, protocol) as one:
        one.setblocking(False)
        one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # single bytes are sent as single packets
        if receive_buffer is not None:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        await loop.sock_connect(one, address)
        yield one


def head(client: Client, line: str, *headers: str) -> bytes:
    """The head of a request to that server.

    Args:
        line: method and path.
    """
    lines = [f"{line} HTTP/1.1", f"Host: {client.host}:{client.port}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


def status_of(response: bytes) -> int | None:
    """The status of a response; None if there is none."""
    found = _STATUS.match(response)
    return int(found[1]) if found else None


async def talk(client: Client, request: bytes) -> int | None:
    """Sends bytes and returns the response's status; None if the connection ends without one."""
    loop = asyncio.get_running_loop()
    with contextlib.suppress(OSError):
        async with connected(client) as one:
            await loop.sock_sendall(one, request)
            return status_of(await loop.sock_recv(one, 4096))
    return None
