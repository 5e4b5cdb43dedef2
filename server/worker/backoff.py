"""When a process that died is started again: after a pause that doubles, and not at all where it dies too often. It
knows times, nothing of processes."""

from __future__ import annotations

from collections import deque

_FIRST_S = 0.1
_LONGEST_S = 5.0
_HEALTHY_S = 60.0


class RestartBackoff:
    """The restarts of one worker.

    Args:
        most: restarts within `within_s` seconds; one more is refused.
    """

    def __init__(self, *, maximum: int, within_s: float) -> None:
        self._maximum = maximum
        self._within_s = within_s
        self._begun: deque[float] = deque()
        self._in_a_row = 0

    def pause(self, now: float, healthy_s: float) -> float | None:
        """Seconds to wait before the restart that is due, or None where no more may follow.

        Args:
            now: monotonic seconds.
            healthy_s: how long the process that died had been ready; a minute forgets the earlier ones.
        """
        if healthy_s >= _HEALTHY_S:
            self._in_a_row = 0
        while self._begun and self._begun[0] <= now - self._within_s:
            self._begun.popleft()
        if len(self._begun) >= self._maximum:
            return None
        self._begun.append(now)
        self._in_a_row += 1
        return min(_FIRST_S * 2.0 ** min(self._in_a_row - 1, 16), _LONGEST_S)
