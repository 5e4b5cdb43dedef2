"""Many clients that do the same again and again, for as long as something else is measured. It knows none of what they
do."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

_REST_S = 0.01  # after each time, so that one whose connections are refused does not spin


@contextlib.asynccontextmanager
async def crowd(act: Callable[[int], Awaitable[object]], count: int) -> AsyncIterator[None]:
    """So many clients for as long as the `async with` lasts; each gets its number. A connection that breaks is
    nothing special to them.

    Raises:
        Exception: what one of them raised beside an `OSError`.
    """

    ended = asyncio.Event()  # what `act` waits for may complete as it is cancelled, and lose the cancellation

    async def keep_acting(number: int) -> None:
        while not ended.is_set():
            with contextlib.suppress(OSError):
                await act(number)
            await asyncio.sleep(_REST_S)

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
