"""The outermost ASGI middleware: gives each request an id, counts its outcome, and turns what nothing else caught into
a 500 of fixed words. It knows paths and statuses, nothing of bodies."""

from __future__ import annotations

import logging
import re
import time
import uuid

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.errors import REFUSALS, InternalError, problem_of
from server.limits import MAX_REQUEST_ID_CHARACTERS
from server.metrics import UNROUTED, Metrics
from server.request_record import record_of

_log = logging.getLogger("flashu.server")
_SANE_ID = re.compile(rf"[A-Za-z0-9._-]{{1,{MAX_REQUEST_ID_CHARACTERS}}}", re.ASCII)
_TASKS = {
    "/v1/generate": "generate",
    "/v1/images/generations": "generate",
    "/v1/images/edits": "generate",
    "/v1/images/variations": "generate",
    "/v1/vqa": "vqa",
    "/v1/completions": "vqa",
    # Until the request is routed.
    "/v1/infer": UNROUTED,
    "/v1/chat/completions": UNROUTED,
    "/v1/responses": UNROUTED,
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
            problem = problem_of(InternalError())
            record_of(scope).fail(problem)
            if status is not None:  # too late for another answer; uvicorn cuts the connection
                raise
            await problem.response()(scope, receive, send_marked)
        finally:
            if status is not None:
                self._count(scope, status, time.perf_counter() - started)

    def _count(self, scope: Scope, status: int, seconds: float) -> None:
        # Work only: a probe that finds the model loading is no refusal.
        task = _TASKS.get(scope["path"])
        if task is None or scope["method"] != "POST":
            return
        record = record_of(scope)
        task = scope["state"].get("task", task)
        # What a stream failed with came after its status.
        self._metrics.count(task, record.policy, record.error_status or status, seconds)
        if record.error_code in REFUSALS:
            self._metrics.reject(record.error_code)
