"""What counts as stuck follows from what was seen."""

from __future__ import annotations

from typing import Any

from flashu_core import UnitReport
from server.pace import Pace


def unit(stage: Any, rows: int, seconds: float) -> UnitReport:
    return UnitReport(stage=stage, rows=rows, seconds=seconds)


def test_the_floor_holds_until_units_are_longer() -> None:
    pace = Pace(10.0)
    assert pace.allowance(1) == 10.0
    pace.saw(unit("evaluate", 1, 2.0))
    assert pace.allowance(1) == 10.0
    pace.saw(unit("evaluate", 1, 7.0))
    pace.saw(unit("evaluate", 1, 1.0))
    assert pace.allowance(1) == 14.0


def test_larger_batches_than_any_seen_may_take_longer_in_proportion() -> None:
    pace = Pace(1.0)
    pace.saw(unit("evaluate", 2, 3.0))
    pace.saw(unit("prefill", 1, 4.0))
    assert (pace.allowance(1), pace.allowance(2), pace.allowance(8)) == (8.0, 8.0, 24.0)
    pace.saw(unit("evaluate", 8, 5.0))
    assert pace.allowance(8) == 24.0  # what two took is still the longer guess
    pace.saw(unit("evaluate", 8, 13.0))
    assert pace.allowance(8) == 26.0
