"""How long the engine may go without ending a unit of work before it counts as stuck. It learns from the units that
ended, so that slow work raises no alarm, and forgets single ones, so that one long pause does not hide the next hang.
It knows no clock and no process."""

from __future__ import annotations

from collections import defaultdict, deque

from flashu_core import Stage, UnitCosts, UnitEnded

_WINDOW = 64  # units of each stage that are remembered
_SLACK = 2.0  # times what is usual


class UnitTimes:
    """The units of one process: what they cost when it was ready, and what the last ones took.

    Args:
        floor_s: seconds that are always allowed.
    """

    def __init__(self, floor_s: float) -> None:
        self._floor_s = floor_s
        self._costs: UnitCosts | None = None
        self._last: defaultdict[Stage, deque[float]] = defaultdict(lambda: deque(maxlen=_WINDOW))

    def know(self, costs: UnitCosts) -> None:
        """What units cost, as the process measured it: larger batches and pictures than any before are taken to cost
        what that predicts."""
        self._costs = costs

    def saw(self, unit: UnitEnded) -> None:
        """A unit ended."""
        self._last[unit.stage].append(unit.seconds)

    def allowance(self, rows: float) -> float:
        """Seconds for one unit while `rows` pictures (of the default size, larger ones in proportion) and answers may
        be in it: twice what is usual, by the costs or by the last units."""
        predicted = 0.0 if self._costs is None else self._costs.longest(rows)
        recent = max(map(_usual, self._last.values()), default=0.0)
        return max(self._floor_s, _SLACK * max(predicted, recent))


def _usual(seconds: deque[float]) -> float:
    """The longest of the last units, but for the few that something may have held up: one in sixteen, and one at
    least. A single unit says nothing."""
    if len(seconds) < 2:
        return 0.0
    return sorted(seconds)[-1 - max(1, len(seconds) // 16)]
