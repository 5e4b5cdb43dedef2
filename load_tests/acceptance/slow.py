"""Slow clients: most trickle headers or a body and reconnect when they are cut off; a few send many requests and hardly
read the responses. They are not counted as load.

A trickling client sees the cut. A client that does not read cannot: data that the server has handed to its kernel is
still there, and the end of the connection is queued behind it. Only the server's metrics count those.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Literal, get_args

from load_tests.acceptance.sockets import connected, head
from load_tests.bench.client import Client

Trickle = Literal["headers", "body"]
TRICKLES: tuple[Trickle, ...] = get_args(Trickle)
CUT_READER = "answer_unread"  # the server's name for it
_JSON = "Content-Type: application/json"
_BODY = 1_000_000
_READERS = 25  # one in so many: each makes the server write megabytes, which is load
_PIPELINED = 400  # more responses than buffers on the way hold; only those that fit are ever made
_RECEIVE_BUFFER = 4096
_RETRY_S = 0.1


@dataclass(slots=True)
class SlowClients:
    """Slow clients and how the server handled them.

    Attributes:
        cut: trickling connections that the server closed.
        longest_s: lifetime of the longest-lived of those, open ones included.
        readers: number of clients that do not read.
    """

    client: Client
    byte_every_s: float = 1.0
    cut: dict[Trickle, int] = field(default_factory=lambda: dict.fromkeys(TRICKLES, 0))
    longest_s: dict[Trickle, float] = field(default_factory=lambda: dict.fromkeys(TRICKLES, 0.0))
    readers: int = 0

    @contextlib.asynccontextmanager
    async def beside(self, count: int) -> AsyncIterator[None]:
        """Runs `count` of them for the duration of the `async with`."""
        self.readers = max(count // _READERS, 1)
        tasks = [asyncio.create_task(self._read()) for _ in range(self.readers)]
        kinds = [TRICKLES[index % len(TRICKLES)] for index in range(count - self.readers)]
        tasks += [asyncio.create_task(self._stay(kind)) for kind in kinds]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _stay(self, kind: Trickle) -> None:
        loop = asyncio.get_running_loop()
        while True:
            begun = loop.time()
            try:
                with contextlib.suppress(OSError):  # a reset cuts as well
                    await self._trickle(kind)
                self.cut[kind] += 1
            finally:
                self.longest_s[kind] = max(self.longest_s[kind], loop.time() - begun)
            await asyncio.sleep(_RETRY_S)

    async def _trickle(self, kind: Trickle) -> None:
        """Returns when the server has closed the connection."""
        reader, writer = await asyncio.open_connection(self.client.host, self.client.port)
        try:
            if kind == "headers":
                writer.write(head(self.client, "POST /v1/vqa", _JSON, "X-Slow: ").removesuffix(b"\r\n\r\n"))
            else:
                writer.write(head(self.client, "POST /v1/vqa", _JSON, f"Content-Length: {_BODY}") + b"{")
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
        """Sends many requests at once and reads a byte now and then."""
        loop = asyncio.get_running_loop()
        with contextlib.suppress(OSError):
            async with connected(self.client, receive_buffer=_RECEIVE_BUFFER) as one:
                await loop.sock_sendall(one, head(self.client, "GET /openapi.json") * _PIPELINED)
                while await loop.sock_recv(one, 1):
                    await asyncio.sleep(self.byte_every_s)
