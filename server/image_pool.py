"""Threads for pictures: decoding and encoding beside the event loop, a few at a time, within a time limit. It knows how
to wait, not how to decode."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from server.errors import OverloadedError

T = TypeVar("T")


class ImagePool:
    """At most `threads` jobs at once; a job over its time keeps its thread (nothing can stop it) but not its client."""

    def __init__(self, *, threads: int) -> None:
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="flashu-image")
        self._free = asyncio.Semaphore(threads)

    async def run(self, job: Callable[[], T], timeout_s: float | None = None) -> T:
        """The job's result.

        Raises:
            OverloadedError: no thread came free within the time limit.
            asyncio.TimeoutError: the job took longer than the limit.
        """
        try:
            await asyncio.wait_for(self._free.acquire(), timeout_s)
        except asyncio.TimeoutError:
            raise OverloadedError("too many pictures are being decoded; retry later") from None
        loop = asyncio.get_running_loop()

        def release(_: Future[T]) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(self._free.release)

        future = self._threads.submit(job)
        future.add_done_callback(release)
        return await asyncio.wait_for(asyncio.wrap_future(future), timeout_s)

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
