"""What counts as stuck follows from what is usual."""

from __future__ import annotations

from typing import Any

import pytest

from flashu_core import UnitCost, UnitCosts, UnitEnded
from server.worker.unit_times import UnitTimes

NOTHING = UnitCost(0.0, 0.0)


def costs(**changes: UnitCost) -> UnitCosts:
    kinds = (
        "prefix backbone_full backbone_pruned backbone_not_needed head_computed head_reused vae_decode prefill decode"
    )
    units: dict[str, Any] = {**dict.fromkeys(kinds.split(), NOTHING), **changes}
    return UnitCosts(**units, num_inference_steps=50, guidance_scale=5.0, pixels=4096)


def unit(seconds: float, stage: Any = "evaluate", rows: int = 1) -> UnitEnded:
    return UnitEnded(stage=stage, rows=rows, seconds=seconds)


def test_the_floor_holds_until_units_are_longer() -> None:
    pace = UnitTimes(10.0)
    assert pace.allowance(1) == 10.0
    for seconds in (2.0, 2.0, 7.0, 7.0, 1.0):
        pace.saw(unit(seconds))
    assert pace.allowance(1) == 14.0


@pytest.mark.parametrize("before", [0, 1, 20, 200])
@pytest.mark.parametrize("rows", [1, 8])
def test_one_long_pause_is_forgotten_at_once(before: int, rows: int) -> None:
    """Whenever it comes, and however many pictures may be in the next unit."""
    pace = UnitTimes(2.0)
    for _ in range(before):
        pace.saw(unit(0.5))
    pace.saw(unit(48.0))
    assert pace.allowance(rows) == 2.0
    pace.saw(unit(0.5))
    assert pace.allowance(rows) == 2.0


def test_work_that_became_slower_is_learned_and_unlearned() -> None:
    pace = UnitTimes(1.0)
    for _ in range(64):
        pace.saw(unit(0.4))
    for _ in range(5):
        pace.saw(unit(3.0))
    assert pace.allowance(1) == 6.0
    for _ in range(64):
        pace.saw(unit(0.4))
    assert pace.allowance(1) == 1.0


def test_each_stage_is_remembered_by_itself() -> None:
    """What is rare, and long, is not forgotten for what is often, and short."""
    pace = UnitTimes(1.0)
    for _ in range(3):
        pace.saw(unit(9.0, "vae_decode"))
    for _ in range(1000):
        pace.saw(unit(0.1))
    assert pace.allowance(1) == 18.0


def test_larger_units_than_any_before_may_take_what_their_costs_predict() -> None:
    pace = UnitTimes(1.0)
    pace.know(costs(backbone_full=UnitCost(0.5, 1.0), head_computed=UnitCost(0.5, 0.5), prefill=UnitCost(0.0, 7.0)))
    # A denoising step runs two branches of each picture; a prefill is of one answer, however many there are.
    assert pace.allowance(1) == 2 * 7.0
    assert pace.allowance(8) == 2 * (0.5 + 16 * 1.0 + 0.5 + 16 * 0.5)
    assert pace.allowance(4.0) < pace.allowance(8)
