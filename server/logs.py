"""What the server writes to stderr: one line per event, as JSON or as text, and one line per request. It knows which
words are ours: prompts, pictures, keys, addresses and the messages of unexpected exceptions are not, and stay out."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Literal

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from flashu_core import FlashUError
from server.errors import ServerError
from server.record import record_of

LogFormat = Literal["json", "text"]
_OURS = ("flashu", "uvicorn")
_QUIET = frozenset({"/livez", "/readyz", "/health", "/metrics"})
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_request_log = logging.getLogger("flashu.request")


class RequestLog:
    """Writes a line when a request has ended; for probes at level debug."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status: int | None = None

        async def send_noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        began = time.perf_counter()
        try:
            await self._app(scope, receive, send_noted)
        finally:
            route = route_of(scope)
            level = logging.DEBUG if route in _QUIET else logging.INFO
            if _request_log.isEnabledFor(level):
                fields = _fields(scope, route, status, time.perf_counter() - began)
                _request_log.log(level, "request", extra={"fields": fields})


def route_of(scope: Scope) -> str | None:
    """The template of the route that a request went to; None where there is none, whatever path was asked for."""
    path = getattr(scope.get("route"), "path", None)
    return path if isinstance(path, str) else None


def method_of(scope: Scope) -> str:
    """The method, `OTHER` for those that clients make up."""
    method: str = scope["method"]
    return method if method in _METHODS else "OTHER"


def configure_logging(
    level: str, log_format: LogFormat = "text", *, stream: IO[str] | None = None
) -> logging.StreamHandler[Any]:
    """Sends all logging of the process to `stream` (stderr), in place of what handlers there were.

    Libraries are heard from warnings on: some log pieces of what they read at lower levels. uvicorn's access log is
    off, for it has raw paths and query strings. At level debug the messages of unexpected exceptions are shown too.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    messages = level == "debug"
    handler.setFormatter(JsonLines(messages=messages) if log_format == "json" else TextLines(messages=messages))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(logging.WARNING, getattr(logging, level.upper())))
    for name in _OURS:
        logging.getLogger(name).setLevel(level.upper())
    access = logging.getLogger("uvicorn.access")
    access.handlers.clear()
    access.propagate = False
    return handler


class JsonLines(logging.Formatter):
    """An object a line: `time` (UTC), `level`, `logger`, `message`, and the fields of the event.

    Args:
        messages: show the messages of unexpected exceptions; they may quote a client.
    """

    def __init__(self, *, messages: bool = False) -> None:
        super().__init__()
        self._messages = messages

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": _moment(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _message(record),
            **getattr(record, "fields", {}),
        }
        if record.exc_info and record.exc_info[1] is not None:
            line["exceptions"] = list(_exceptions(record.exc_info[1], messages=self._messages))
        return json.dumps(line, default=str)


class TextLines(logging.Formatter):
    """As `JsonLines`, for people."""

    def __init__(self, *, messages: bool = False) -> None:
        super().__init__()
        self._messages = messages

    def format(self, record: logging.LogRecord) -> str:
        fields = getattr(record, "fields", {})
        shown = "".join(f" {name}={value}" for name, value in fields.items() if value is not None)
        lines = [f"{_moment(record)} {record.levelname} {record.name}: {_message(record)}{shown}"]
        if record.exc_info and record.exc_info[1] is not None:
            for exception in _exceptions(record.exc_info[1], messages=self._messages):
                message = exception.get("message")
                lines.append(f"  {exception['type']}" + (f": {message}" if message else ""))
                lines.extend(f"    {frame}" for frame in exception["frames"])
        return "\n".join(lines)


def _fields(scope: Scope, route: str | None, status: int | None, seconds: float) -> dict[str, Any]:
    record = record_of(scope)
    queue = record.timings_ms.get("queue")
    return {
        "request_id": scope["state"].get("request_id"),
        "key": record.key,
        "method": method_of(scope),
        "route": route,
        "status": status,
        "error": record.error_code,
        "seconds": round(seconds, 4),
        "task": record.task,
        "policy": record.policy,
        "queue_ms": None if queue is None else round(queue, 2),
        "evaluations": record.evaluations,
        "tokens": record.tokens,
        "trace_id": record.trace,
    }


def _moment(record: logging.LogRecord) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z"


def _message(record: logging.LogRecord) -> str:
    message = record.getMessage()
    # asyncio, for one, goes on with the repr of a future, and that with its exception's words.
    return message if record.name.startswith(_OURS) else message.partition("\n")[0]


def _exceptions(error: BaseException, *, messages: bool) -> Iterator[dict[str, Any]]:
    """The exception and what it came from, outermost first: types and places, messages only of our own classes."""
    seen: set[int] = set()
    one: BaseException | None = error
    while one is not None and id(one) not in seen:
        seen.add(id(one))
        kind = type(one)
        shown: dict[str, Any] = {"type": f"{kind.__module__}.{kind.__qualname__}", "frames": _frames(one.__traceback__)}
        if messages or isinstance(one, (FlashUError, ServerError)):
            shown["message"] = str(one)
        yield shown
        one = one.__cause__ or (None if one.__suppress_context__ else one.__context__)


def _frames(traceback: TracebackType | None) -> list[str]:
    frames: list[str] = []
    while traceback is not None:
        code = traceback.tb_frame.f_code
        place = "/".join(Path(code.co_filename).parts[-2:])
        frames.append(f"{place}:{traceback.tb_lineno} in {code.co_name}")
        traceback = traceback.tb_next
    return frames
