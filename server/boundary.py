"""The outermost ASGI middleware: gives each request an id, counts its outcome, and turns what nothing else caught into
a 500 of fixed words. It knows paths and statuses, nothing of bodies."""

from __future__ import annotations

import logging
import re
import time
import uuid

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.errors import CLIENT_GONE, InternalError, problem_of
from server.metrics import Metrics
from server.record import record_of

_log = logging.getLogger("flashu.server")
_SANE_ID = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
_TASKS = {
    "/v1/generate": "generate",
    "/v1/images/generations": "generate",
    "/v1/vqa": "vqa",
    # Until the request is routed.
    "/v1/infer": "unrouted",
    "/v1/chat/completions": "unrouted",
}


class RequestBoundary:
    """`X-Request-Id` is echoed where it is short and plain, else one is made; it is in `request.state.request_id`."""

    def __init__(self, app: ASGIApp, *, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if _SANE_ID.fullmatch(given) else uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id
        status: int | None = None

        async def send_marked(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["X-Request-Id"] = request_id
            await send(message)

        started = time.perf_counter()
        try:
            await self._app(scope, receive, send_marked)
        except Exception:
            _log.exception("request %s failed", request_id)
            if status is not None:  # too late for another answer; uvicorn cuts the connection
                raise
            await problem_of(InternalError()).response()(scope, receive, send_marked)
        finally:
            task = _TASKS.get(scope["path"])
            if task is not None and scope["method"] == "POST" and status is not None:
                state = scope["state"]
                task = state.get("task", task)
                if state.get("client_gone"):
                    status = CLIENT_GONE
                self._metrics.count(task, record_of(scope).policy, status, time.perf_counter() - started)
