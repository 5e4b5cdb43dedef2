"""Since when a process has shown no sign of life. Time in which the watcher itself stood still (a suspended machine, a
stopped container, a debugger) does not count, and what ends right after it teaches nothing. Callers pass the time."""

from __future__ import annotations

from flashu_core import UnitCosts, UnitEnded
from server.worker.unit_times import UnitTimes

LOOK_S = 0.1  # seconds from one look to the next; a gap of more than twice that is an absence


class Watchdog:
    """Watches one process.

    Args:
        floor_s: seconds without an end of a unit that are always allowed.
        now: monotonic seconds, as of all other times.
    """

    def __init__(self, floor_s: float, now: float) -> None:
        self._pace = UnitTimes(floor_s)
        self._last_heartbeat = now
        self._looked = now
        self._was_absent = False

    def look(self, now: float) -> None:
        """To be called every `LOOK_S` seconds."""
        away = now - self._looked - LOOK_S
        if away > LOOK_S:
            self._last_heartbeat += away
            self._was_absent = True
        self._looked = now

    def receive(self, now: float) -> None:
        """It showed a sign of life, or got its first work."""
        self.look(now)
        self._last_heartbeat = now

    def unit_ended(self, now: float, unit: UnitEnded) -> None:
        """It ended a unit of work."""
        self.receive(now)
        if not self._was_absent:
            self._pace.saw(unit)
        self._was_absent = False

    def know(self, costs: UnitCosts) -> None:
        """What its units cost."""
        self._pace.know(costs)

    def silence(self, now: float) -> float:
        """Seconds since the last sign of life."""
        return now - self._last_heartbeat

    def allowance(self, rows: float) -> float:
        """Seconds of silence that are allowed while so many pictures and answers may be in a unit."""
        return self._pace.allowance(rows)
