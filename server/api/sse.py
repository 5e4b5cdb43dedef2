"""Server-sent events over one response. It knows the wire format, pings, lost clients and slow ones; what the events
are and where they come from it does not."""

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
    """Sends what a generator yields, each piece at once.

    The status waits for the first piece, or for `ping_s`: what fails before is an ordinary error; what fails later is
    an event `error` with the one error body, and ends the stream; the request's record tells of it. Where nothing is
    said for `ping_s` a comment is sent, so that proxies keep the connection. A client that left, or reads nothing for
    `send_s`, closes the generator.

    Args:
        events: whole events in bytes; closed in any case.
        headers: more of them.
        failure: makes the event `error`; by default its data is the one error body.
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
        # No buffering by nginx; no caching by anyone.
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
            _log.info("a client read nothing of its stream for %g s; it is cut off", self._send_s)
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
