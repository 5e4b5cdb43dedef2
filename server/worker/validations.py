"""Requests that the engine was asked whether it would take, and who waits for the answers. It belongs to one event
loop, and knows numbers, not what the requests are."""

from __future__ import annotations

import asyncio


class Validations:
    """Answers that are waited for, by the request's number."""

    def __init__(self) -> None:
        self._waiting: dict[int, asyncio.Future[None]] = {}

    async def answer(self, number: int, *, within_s: float | None) -> None:
        """Waits until the engine has answered; raises what it would refuse the request with.

        Raises:
            asyncio.TimeoutError: it has not answered within so many seconds.
        """
        answer = self._waiting[number] = asyncio.get_running_loop().create_future()
        try:
            await asyncio.wait_for(answer, within_s)
        finally:
            del self._waiting[number]

    def publish(self, number: int, error: Exception | None) -> None:
        """The engine's answer, None where it would take the request; nothing where nobody waits for it."""
        answer = self._waiting.get(number)
        if answer is None or answer.done():
            return
        if error is None:
            answer.set_result(None)
        else:
            answer.set_exception(error)

    def fail(self, error: Exception) -> None:
        """There will be no more answers."""
        for number in self._waiting:
            self.publish(number, error)
