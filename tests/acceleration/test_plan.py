from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest

from flashu_core.acceleration.plan import Flags, Numbers, Schedule, Step, StepPlan, Steps, make_schedule
from flashu_core.errors import ConfigurationError


@dataclass(frozen=True)
class Times:
    """Multiplies the guidance from one step on."""

    factor: float
    start: int = 1

    def plan(self, step: Step, plan: StepPlan) -> StepPlan:
        return replace(plan, guidance_scale=plan.guidance_scale * self.factor) if step.index >= self.start else plan

    def alike(self, steps: Steps) -> Flags:
        return steps.indices >= self.start


@dataclass(frozen=True)
class Plus:
    term: float

    def plan(self, step: Step, plan: StepPlan) -> StepPlan:
        return replace(plan, guidance_scale=plan.guidance_scale + self.term / (step.num_inference_steps - 1))

    def alike(self, steps: Steps) -> Numbers:
        return np.zeros_like(steps.indices)


def test_points_are_one_more_than_steps() -> None:
    assert make_schedule((), num_inference_steps=50, guidance_scale=5.0) == Schedule([StepPlan(5.0)] * 49)


def test_techniques_apply_in_order_and_know_where_they_are() -> None:
    schedule = make_schedule((Plus(3.0), Times(2.0, start=3)), num_inference_steps=4, guidance_scale=1.0)
    assert [plan.guidance_scale for plan in schedule] == [2.0, 2.0, 4.0]
    turned = make_schedule((Times(2.0, start=3), Plus(3.0)), num_inference_steps=4, guidance_scale=1.0)
    assert [plan.guidance_scale for plan in turned] == [2.0, 2.0, 3.0]


def test_plans_are_values() -> None:
    assert len({StepPlan(5.0), StepPlan(5.0), StepPlan(2.0)}) == 2
    assert hash(make_schedule((), num_inference_steps=5, guidance_scale=1.0)) == hash(
        make_schedule((), num_inference_steps=5, guidance_scale=1.0)
    )


def test_branches_without_a_reader() -> None:
    assert (StepPlan(5.0).reads_cond, StepPlan(5.0).reads_uncond) == (True, True)
    assert (StepPlan(1.0).reads_cond, StepPlan(1.0).reads_uncond) == (True, False)
    assert (StepPlan(0.0).reads_cond, StepPlan(0.0).reads_uncond) == (False, True)


def test_a_grid_without_a_step_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="1 points"):
        make_schedule((), num_inference_steps=1, guidance_scale=5.0)


def test_a_schedule_is_a_sequence_of_its_plans() -> None:
    plans = [StepPlan(1.0), StepPlan(2.0), StepPlan(1.0), StepPlan(2.0, ffn="pruned")]
    schedule = Schedule(plans)
    assert list(schedule) == plans
    assert (schedule[-1], len(schedule), plans[1] in schedule) == (plans[3], 4, True)
    assert schedule[1:3] == Schedule(plans[1:3]) != Schedule(plans)
    assert schedule.kinds == (plans[0], plans[1], plans[3])
    assert schedule.counts == {plans[0]: 2, plans[1]: 1, plans[3]: 1}
    with pytest.raises(IndexError):
        schedule[4]


def test_plans_that_become_equal_are_one_kind() -> None:
    schedule = Schedule([StepPlan(1.0), StepPlan(2.0), StepPlan(1.0)])
    same = schedule.changed(np.zeros(3, bool), lambda place, plan: StepPlan(3.0))
    assert same == Schedule([StepPlan(3.0)] * 3)
    assert hash(same) == hash(Schedule([StepPlan(3.0)] * 3))


def test_a_plan_is_made_for_each_kind_only() -> None:
    """However long the schedule is."""
    requested: list[int] = []

    @dataclass(frozen=True)
    class Asked(Times):
        def plan(self, step: Step, plan: StepPlan) -> StepPlan:
            requested.append(step.index)
            return super().plan(step, plan)

    assert len(make_schedule((Asked(2.0, start=400),), num_inference_steps=1000, guidance_scale=5.0)) == 999
    assert requested == [1, 400]
