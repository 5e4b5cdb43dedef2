"""Server-sent events: the wire format, pings, and what happens when a client disconnects or reads too slowly."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from server.api.disconnect import wait_for_disconnect
from server.errors import ClientGoneError, Problem, problem_of
from server.request_record import record_of

_log = logging.getLogger("flashu.server")
_PING = b": ping\n\n"
_INTERNAL = 500
DONE = b"data: [DONE]\n\n"
MEDIA_TYPE = "text/event-stream"


def server_event(data: str, name: str | None = None) -> bytes:
    """One event; `data` is JSON on one line."""
    head = "" if name is None else f"event: {name}\n"
    return f"{head}data: {data}\n\n".encode()


class EventStream(Response):
    """Sends each piece that a generator yields, at once.

    The status line is sent with the first piece, or after `ping_s`. An earlier failure is an ordinary error response; a
    later one is an event `error` with the common error body that ends the stream, and is noted in the request's record.
    After `ping_s` without an event a comment is sent, so that proxies keep the connection open. The generator is closed
    when the client disconnects, or reads nothing for `send_s`.

    Args:
        events: whole events in bytes; closed in any case.
        headers: additional headers.
        failure: makes the event `error`; by default its data is the common error body.
    """

    media_type = MEDIA_TYPE
    charset = "utf-8"

    def __init__(
        self,
        events: AsyncGenerator[bytes, None],
        *,
        headers: Mapping[str, str] | None = None,
        failure: Callable[[Problem], bytes] | None = None,
        ping_s: float = 15.0,
        send_s: float = 60.0,
    ) -> None:
        # No buffering by nginx, and no caching.
        super().__init__(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no", **(headers or {})})
        del self.headers["content-length"]
        self._events = events
        self._failure = failure or _failure
        self._ping_s = ping_s
        self._send_s = send_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        record = record_of(scope)
        gone = asyncio.ensure_future(wait_for_disconnect(receive))
        step: asyncio.Future[bytes | None] | None = None
        started = False
        try:
            while True:
                step = step or asyncio.ensure_future(self._next())
                waited: set[asyncio.Future[Any]] = {step, gone}
                await asyncio.wait(waited, timeout=self._ping_s, return_when=asyncio.FIRST_COMPLETED)
                if gone.done():
                    if not started:
                        raise ClientGoneError
                    record.fail(problem_of(ClientGoneError()))
                    return
                piece: bytes | None = _PING
                if step.done():
                    try:
                        piece = step.result()
                    except Exception as error:
                        if not started:
                            raise
                        problem = problem_of(error, record.names)
                        record.fail(problem)
                        if problem.status == _INTERNAL:
                            _log.error("a stream failed", exc_info=error)
                        await self._send(send, self._failure(problem))
                        piece = None
                    step = None
                if piece is None:
                    break
                if not started:
                    await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
                    started = True
                await self._send(send, piece)
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        except _SlowClientError:
            # The server closes a connection whose response was left incomplete.
            record.fail(problem_of(ClientGoneError()))
            _log.info("a client read nothing of its stream for %g s; closing the connection", self._send_s)
        finally:
            ending: list[asyncio.Future[Any]] = [gone] if step is None else [gone, step]
            for task in ending:
                task.cancel()
            await asyncio.gather(*ending, return_exceptions=True)
            await self._events.aclose()

    async def _next(self) -> bytes | None:
        try:
            return await self._events.__anext__()
        except StopAsyncIteration:
            return None

    async def _send(self, send: Send, piece: bytes) -> None:
        try:
            message = {"type": "http.response.body", "body": piece, "more_body": True}
            await asyncio.wait_for(send(message), self._send_s)
        except asyncio.TimeoutError:
            raise _SlowClientError from None


class _SlowClientError(Exception):
    """The client does not read."""


def _failure(problem: Problem) -> bytes:
    return server_event(json.dumps(problem.body()), "error")
