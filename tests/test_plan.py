from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from flashu_core.errors import ConfigurationError
from flashu_core.plan import Step, StepPlan, make_schedule


@dataclass(frozen=True)
class Times:
    """Multiplies the guidance from one evaluation on."""

    factor: float
    start: int = 1

    def plan(self, step: Step, plan: StepPlan) -> StepPlan:
        return replace(plan, guidance=plan.guidance * self.factor) if step.evaluation >= self.start else plan


@dataclass(frozen=True)
class Plus:
    term: float

    def plan(self, step: Step, plan: StepPlan) -> StepPlan:
        return replace(plan, guidance=plan.guidance + self.term / (step.points - 1))


def test_points_are_one_more_than_evaluations() -> None:
    assert make_schedule((), points=50, guidance=5.0) == (StepPlan(5.0),) * 49


def test_techniques_apply_in_order_and_know_where_they_are() -> None:
    schedule = make_schedule((Plus(3.0), Times(2.0, start=3)), points=4, guidance=1.0)
    assert [plan.guidance for plan in schedule] == [2.0, 2.0, 4.0]
    turned = make_schedule((Times(2.0, start=3), Plus(3.0)), points=4, guidance=1.0)
    assert [plan.guidance for plan in turned] == [2.0, 2.0, 3.0]


def test_plans_are_values() -> None:
    assert len({StepPlan(5.0), StepPlan(5.0), StepPlan(2.0)}) == 2
    assert hash(make_schedule((), points=5, guidance=1.0)) == hash(make_schedule((), points=5, guidance=1.0))


def test_branches_that_nothing_reads() -> None:
    assert (StepPlan(5.0).reads_text, StepPlan(5.0).reads_null) == (True, True)
    assert (StepPlan(1.0).reads_text, StepPlan(1.0).reads_null) == (True, False)
    assert (StepPlan(0.0).reads_text, StepPlan(0.0).reads_null) == (False, True)


def test_a_grid_without_an_evaluation_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="1 points"):
        make_schedule((), points=1, guidance=5.0)
