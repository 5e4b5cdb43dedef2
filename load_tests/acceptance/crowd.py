"""Clients that repeat an action while something else is measured."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

_PAUSE_S = 0.01  # after each action, so that a client whose connections are refused does not spin


@contextlib.asynccontextmanager
async def crowd(act: Callable[[int], Awaitable[object]], count: int) -> AsyncIterator[None]:
    """Runs `count` clients for the duration of the `async with`; each calls `act` with its number and ignores broken
    connections.

    Raises:
        Exception: what a client raised, other than an `OSError`.
    """

    ended = asyncio.Event()  # `act` may complete while it is cancelled and swallow the cancellation

    async def keep_acting(number: int) -> None:
        while not ended.is_set():
            with contextlib.suppress(OSError):
                await act(number)
            await asyncio.sleep(_PAUSE_S)

    tasks = [asyncio.create_task(keep_acting(number)) for number in range(count)]
    try:
        yield
    finally:
        ended.set()
        for task in tasks:
            task.cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    for one in outcomes:
        if isinstance(one, BaseException) and not isinstance(one, asyncio.CancelledError):
            raise one
