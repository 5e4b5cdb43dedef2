"""ASGI middleware that rejects requests before their body is read, if no request of their task would be accepted now.
Under overload most requests end here, at a fraction of the cost of reading them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, get_args

from starlette.types import ASGIApp, Receive, Scope, Send

from flashu_core import Task
from server.errors import OverloadedError, UnavailableError, problem_of
from server.middleware.priorities import Priorities
from server.request_record import record_of

_BOTH: Sequence[Task] = get_args(Task)
# Paths of generation and understanding, and the task of each; None if the body decides.
WORK_PATHS: Mapping[str, Task | None] = {
    "/v1/generate": "generate",
    "/v1/images/generations": "generate",
    "/v1/vqa": "vqa",
    "/v1/completions": "vqa",
    "/v1/infer": None,
    "/v1/chat/completions": None,
    "/v1/responses": None,
}


class Gate(Protocol):
    """Knows whether requests of a task are accepted, as the worker does."""

    def check_open(self, task: Task, priority: int) -> None:
        """Raises OverloadedError or UnavailableError if they are not."""


class Overload:
    """Checks the task of a path, or both tasks if the body decides, with the lowest priority value of the request's
    key.

    Args:
        tasks: the task of each path, as in `WORK_PATHS`.
    """

    def __init__(self, app: ASGIApp, *, gate: Gate, priorities: Priorities, tasks: Mapping[str, Task | None]) -> None:
        self._app = app
        self._gate = gate
        self._priorities = priorities
        self._tasks: Mapping[str, Sequence[Task]] = {
            path: _BOTH if task is None else (task,) for path, task in tasks.items()
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        tasks = self._tasks.get(scope["path"]) if scope["type"] == "http" and scope["method"] == "POST" else None
        refusal = None if tasks is None else self._refusal(tasks, record_of(scope).key)
        if refusal is None:
            await self._app(scope, receive, send)
            return
        problem = problem_of(refusal)
        record_of(scope).fail(problem)
        await problem.response()(scope, receive, send)

    def _refusal(self, tasks: Sequence[Task], key: str | None) -> OverloadedError | UnavailableError | None:
        """Why no task is accepted, of two reasons the one that ends first; None if a task is accepted."""
        reasons: list[OverloadedError | UnavailableError] = []
        for task in tasks:
            try:
                self._gate.check_open(task, self._priorities.minimum(key))
            except (OverloadedError, UnavailableError) as error:
                reasons.append(error)
            else:
                return None
        return min(reasons, key=lambda reason: reason.retry_after)
