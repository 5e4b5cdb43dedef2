"""Turns for connections that cost more than they bring, within a share of the event loop. It knows callbacks and the
time they take."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable

_LEAST_GAP_S = 0.005


class Turns:
    """Calls back those who wait, one at a time and in their order, with pauses so long that all together take no more
    than `share` of the loop's time, however many they are.

    Args:
        share: between 0 and 1.
    """

    def __init__(self, *, share: float = 0.2) -> None:
        self._pause = 1 / share - 1
        self._waiting: deque[Callable[[], None]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def wait(self, callback: Callable[[], None]) -> None:
        """Calls `callback` once, in its turn, on the running loop."""
        self._waiting.append(callback)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_LEAST_GAP_S, self._next)

    def _next(self) -> None:
        callback = self._waiting.popleft()
        began = time.perf_counter()
        try:
            callback()
        finally:
            pause = max((time.perf_counter() - began) * self._pause, _LEAST_GAP_S)
            self._timer = asyncio.get_running_loop().call_later(pause, self._next) if self._waiting else None
