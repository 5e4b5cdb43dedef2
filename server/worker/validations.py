"""Requests that the engine was to validate, and the callers that wait for its answers. It belongs to one event loop."""

from __future__ import annotations

import asyncio


class Validations:
    """Answers that callers wait for, by request id."""

    def __init__(self) -> None:
        self._waiting: dict[str, asyncio.Future[None]] = {}

    async def answer(self, request_id: str, *, within_s: float | None) -> None:
        """Waits until the engine has answered; raises what it would refuse the request with.

        Raises:
            asyncio.TimeoutError: it has not answered within so many seconds.
        """
        answer = self._waiting[request_id] = asyncio.get_running_loop().create_future()
        try:
            await asyncio.wait_for(answer, within_s)
        finally:
            del self._waiting[request_id]

    def publish(self, request_id: str, error: Exception | None) -> None:
        """The engine's answer, None where it would take the request; nothing where no caller waits for it."""
        answer = self._waiting.get(request_id)
        if answer is None or answer.done():
            return
        if error is None:
            answer.set_result(None)
        else:
            answer.set_exception(error)

    def fail(self, error: Exception) -> None:
        """There will be no more answers."""
        for request_id in self._waiting:
            self.publish(request_id, error)
