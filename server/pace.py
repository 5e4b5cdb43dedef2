"""How long the engine may go without ending a unit of work before it counts as stuck. It learns from the units that
ended, so that slow work raises no alarm; it knows no clock and no process."""

from __future__ import annotations

from flashu_core import Stage, UnitReport

_ALONE: frozenset[Stage] = frozenset({"prefix", "prefill"})  # one request a unit, however many there are


class Pace:
    """The longest units seen of one process.

    Args:
        floor_s: seconds that are always allowed.
    """

    def __init__(self, floor_s: float) -> None:
        self._floor_s = floor_s
        self._longest: dict[tuple[Stage, int], float] = {}

    def saw(self, unit: UnitReport) -> None:
        key = (unit.stage, unit.rows)
        self._longest[key] = max(unit.seconds, self._longest.get(key, 0.0))

    def allowance(self, rows: int) -> float:
        """Seconds for one unit while `rows` pictures and answers may be in it: twice the longest seen.

        A batch larger than any before is taken to be longer in proportion: warming up has run batches of one.
        """
        longest = max(
            (
                seconds * (1.0 if stage in _ALONE else max(rows / seen, 1.0))
                for (stage, seen), seconds in self._longest.items()
            ),
            default=0.0,
        )
        return max(self._floor_s, 2 * longest)
