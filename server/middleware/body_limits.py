"""ASGI middleware that limits the size of a request's body, the time in which it arrives, and the memory of all bodies
together, whether its length was declared or not. Its exceptions are raised from `receive`, while a route reads."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.errors import BodyMemoryError, BodyTimeoutError, BodyTooLargeError
from server.middleware.body_memory import BodyMemory, HeldBody

_LINGER_S = 1.0


class BodyLimits:
    """Stops reading a body at `max_bytes`, or `timeout_s` after the request began.

    The timeout covers the whole body: with a timeout per read a client could trickle forever. After the body,
    `receive` waits for the disconnect without a timeout.

    Args:
        memory: the account of all bodies together; a body is counted until its request has ended.
    """

    def __init__(self, app: ASGIApp, *, max_bytes: int, timeout_s: float, memory: BodyMemory) -> None:
        self._app = app
        self._memory = memory
        self._max_bytes = max_bytes
        self._timeout_s = timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        declared = int(headers.get("content-length", "0"))  # digits: h11 refuses anything else
        expects_continue = headers.get("expect", "").lower() == "100-continue"
        clock = asyncio.get_running_loop().time
        ends = clock() + self._timeout_s
        received = 0
        complete = False
        held = self._memory.open()

        async def limited() -> Message:
            nonlocal received, complete
            if complete:
                return await receive()
            if declared > self._max_bytes:
                if not expects_continue:
                    await self._discard(receive)
                raise BodyTooLargeError(self._max_bytes)
            message = await self._next(receive, held, ends - clock())
            if message["type"] == "http.request":
                received += len(message.get("body", b""))
                complete = not message.get("more_body", False)
                if received > self._max_bytes:
                    if not complete:
                        await self._discard(receive)
                    raise BodyTooLargeError(self._max_bytes)
                held.add(len(message.get("body", b"")))
                if complete:
                    held.complete()
            return message

        try:
            await self._app(scope, limited, send)
        finally:
            held.close()

    async def _next(self, receive: Receive, held: HeldBody, seconds: float) -> Message:
        reading = asyncio.ensure_future(receive())
        try:
            waited: set[asyncio.Future[Any]] = {reading, held.evicted}
            await asyncio.wait(waited, timeout=max(seconds, 0), return_when=asyncio.FIRST_COMPLETED)
            if held.evicted.done():
                raise BodyMemoryError(self._memory.max_bytes)
            if not reading.done():
                raise BodyTimeoutError(self._timeout_s)
            return reading.result()
        finally:
            if not reading.done():
                reading.cancel()
                await asyncio.gather(reading, return_exceptions=True)

    async def _discard(self, receive: Receive) -> None:
        # Closing a socket with unread bytes resets it, and many clients then lose the response: read a little more.
        async def drop() -> None:
            left = self._max_bytes
            while left > 0:
                message = await receive()
                left -= len(message.get("body", b""))
                if not message.get("more_body", False):
                    return

        try:
            await asyncio.wait_for(drop(), _LINGER_S)
        except asyncio.TimeoutError:
            return
