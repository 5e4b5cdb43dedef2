"""The log line of a request. It has no path, query or text of a client."""

from __future__ import annotations

import logging
import time
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.request_record import record_of

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
        "evaluations": record.steps,
        "tokens": record.tokens,
        "trace_id": record.trace,
    }
