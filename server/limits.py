"""ASGI middleware that bounds a request's body in bytes and in time, whether its length was declared or not. It knows
messages only; the exceptions it raises while a route reads become answers where all the others do."""

from __future__ import annotations

import asyncio

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.errors import BodyTimeoutError, BodyTooLargeError

_LINGER_S = 1.0


class BodyLimits:
    """Counts what a route reads and stops at `max_bytes`, or `timeout_s` after the request began.

    The time is for the whole body: a limit per read would let a client trickle forever. After the body ends,
    `receive` waits for the disconnect without a limit.
    """

    def __init__(self, app: ASGIApp, *, max_bytes: int, timeout_s: float) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._timeout_s = timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        declared = int(headers.get("content-length", "0"))  # digits: h11 refuses anything else
        waits_for_go = headers.get("expect", "").lower() == "100-continue"
        clock = asyncio.get_running_loop().time
        ends = clock() + self._timeout_s
        received = 0
        complete = False

        async def limited() -> Message:
            nonlocal received, complete
            if complete:
                return await receive()
            if declared > self._max_bytes:
                if not waits_for_go:
                    await self._discard(receive)
                raise BodyTooLargeError(self._max_bytes)
            try:
                message = await asyncio.wait_for(receive(), ends - clock())
            except asyncio.TimeoutError:
                raise BodyTimeoutError(self._timeout_s) from None
            if message["type"] == "http.request":
                received += len(message.get("body", b""))
                complete = not message.get("more_body", False)
                if received > self._max_bytes:
                    if not complete:
                        await self._discard(receive)
                    raise BodyTooLargeError(self._max_bytes)
            return message

        await self._app(scope, limited, send)

    async def _discard(self, receive: Receive) -> None:
        # Closing a socket with unread bytes resets it, and many clients then lose the answer: read a little more.
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
