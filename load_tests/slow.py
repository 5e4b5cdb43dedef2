"""Clients that take their time: they trickle headers, or a body, or read an answer byte by byte, and come back when
they are cut off. They know sockets, and are not counted as load."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Literal, get_args

Slowness = Literal["headers", "body", "reads"]
KINDS: tuple[Slowness, ...] = get_args(Slowness)
_HEAD = "POST /v1/vqa HTTP/1.1\r\nHost: slow\r\nContent-Type: application/json\r\n"
_BODY = 1_000_000
_PIPELINED = 24  # so much answer that no buffer on the way holds it
_RECEIVE_BUFFER = 4096
_RETRY_S = 0.1


@dataclass(slots=True)
class SlowClients:
    """How the server dealt with them.

    Attributes:
        cut: connections that the server ended, by kind.
        longest_s: how long the longest-lived one was let, by kind, those that are still open included.
    """

    host: str
    port: int
    byte_every_s: float = 1.0
    cut: dict[Slowness, int] = field(default_factory=lambda: dict.fromkeys(KINDS, 0))
    longest_s: dict[Slowness, float] = field(default_factory=lambda: dict.fromkeys(KINDS, 0.0))

    @contextlib.asynccontextmanager
    async def beside(self, count: int) -> AsyncIterator[None]:
        """So many of them, the kinds in turn, for as long as the `async with` lasts."""
        tasks = [asyncio.create_task(self._stay(KINDS[index % len(KINDS)])) for index in range(count)]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _stay(self, kind: Slowness) -> None:
        loop = asyncio.get_running_loop()
        while True:
            begun = loop.time()
            try:
                await (self._read() if kind == "reads" else self._trickle(kind))
                self.cut[kind] += 1
            except OSError:  # a reset cuts as well; or there is no room for one more, which is to be tried again
                self.cut[kind] += 1
            finally:
                self.longest_s[kind] = max(self.longest_s[kind], loop.time() - begun)
            await asyncio.sleep(_RETRY_S)

    async def _trickle(self, kind: Slowness) -> None:
        """Returns when the server has ended the connection."""
        reader, writer = await asyncio.open_connection(self.host, self.port)
        try:
            if kind == "headers":
                writer.write(f"{_HEAD}X-Slow: ".encode())
            else:
                writer.write(f"{_HEAD}Content-Length: {_BODY}\r\n\r\n{{".encode())
            ended = asyncio.ensure_future(reader.read())
            try:
                while not ended.done():
                    writer.write(b" ")
                    await asyncio.wait([ended], timeout=self.byte_every_s)
                await ended
            finally:
                ended.cancel()
        finally:
            writer.transport.abort()

    async def _read(self) -> None:
        loop = asyncio.get_running_loop()
        addresses = await loop.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
        family, kind, protocol, _, address = addresses[0]
        with socket.socket(family, kind, protocol) as one:
            one.setblocking(False)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
            await loop.sock_connect(one, address)
            await loop.sock_sendall(one, b"GET /openapi.json HTTP/1.1\r\nHost: slow\r\n\r\n" * _PIPELINED)
            while await loop.sock_recv(one, 1):
                await asyncio.sleep(self.byte_every_s)
