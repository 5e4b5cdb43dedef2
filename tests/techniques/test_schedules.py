"""What every technique promises, and the schedule that all of them together make."""

from __future__ import annotations

import pytest

from flashu_core.errors import ConfigurationError
from flashu_core.plan import Step, StepPlan, Technique, liveness, make_answer_schedule, make_schedule
from flashu_core.policies import POLICIES
from flashu_core.techniques.adaptive_guidance import AdaptiveGuidance
from flashu_core.techniques.head_cache import HeadCache
from flashu_core.techniques.hybrid_ffn import HybridFfn
from flashu_core.techniques.layer_skipping import LayerSkipping
from flashu_core.techniques.token_pruning import TokenPruning

NEUTRAL: list[Technique] = [
    HybridFfn(last=1.0),
    LayerSkipping(ratio=0.0),
    LayerSkipping(ratio=0.2, last=1.0),
    AdaptiveGuidance(low=1.0),
    AdaptiveGuidance(low=0.5, last=1.0),
    HeadCache(interval=1),
    HeadCache(last=1.0),
    TokenPruning(ratio=0.0, layer=0),
]
ACTIVE: list[Technique] = [
    HybridFfn(),
    LayerSkipping(ratio=0.2),
    AdaptiveGuidance(),
    HeadCache(),
    TokenPruning(),
]


@pytest.mark.parametrize("technique", NEUTRAL, ids=str)
@pytest.mark.parametrize("points", [2, 7, 35])
def test_a_technique_switched_off_leaves_no_trace(technique: Technique, points: int) -> None:
    assert make_schedule((technique,), points=points, guidance=5.0) == make_schedule((), points=points, guidance=5.0)
    assert make_answer_schedule((technique,), tokens=points) == make_answer_schedule((), tokens=points)


@pytest.mark.parametrize("technique", ACTIVE, ids=str)
def test_a_technique_is_a_pure_value(technique: Technique) -> None:
    step, plan = Step(2, 35), StepPlan(5.0)
    assert technique.plan(step, plan) == technique.plan(step, plan)
    assert plan == StepPlan(5.0)
    first, second = (make_schedule((technique,), points=35, guidance=5.0) for _ in range(2))
    assert first == second
    assert hash(first) == hash(second)


def test_the_defaults_compute_what_is_read_and_no_more() -> None:
    """What the original ran for 35 points, less what nothing reads."""
    schedule = make_schedule(POLICIES["flashu"].generate.techniques, points=35, guidance=10.0)
    assert len(schedule) == 34
    backbone = [number for number, plan in enumerate(schedule, start=1) if plan.run_backbone]
    head = [number for number, plan in enumerate(schedule, start=1) if plan.head == "compute"]
    assert backbone == [1, 2, 3, 4, 5, 10, 11, 15, 20, *range(25, 35)]
    assert head == [number for number in backbone if number != 11]
    assert [number for number, plan in enumerate(schedule, start=1) if plan.measure] == [1, 11]
    assert [plan.ffn for plan in schedule] == ["pruned"] * 24 + ["full"] * 10
    assert [plan.guidance for plan in schedule] == [7.5] * 24 + [10.0] * 10
    assert [number for number, plan in enumerate(schedule, start=1) if plan.keep_head] == [5, 10, 15, 20]
    assert {plan.layers for plan in schedule[24:]} == {"all"}


def test_an_answer_measures_at_each_interval_and_drops_once() -> None:
    schedule = make_answer_schedule(POLICIES["flashu"].vqa.techniques, tokens=128)
    assert len(schedule) == 128
    assert [number for number, plan in enumerate(schedule, start=1) if plan.measure] == list(range(1, 90, 10))
    assert [number for number, plan in enumerate(schedule, start=1) if plan.drop] == [1]
    assert (schedule[0].drop, schedule[0].drop_layer) == (0.5, 2)
    assert [plan.ffn for plan in schedule] == ["pruned"] * 89 + ["full"] * 39
    assert all(plan.run_backbone for plan in schedule)


def test_a_measurement_that_nobody_reads_is_not_made() -> None:
    skipping, cached = LayerSkipping(ratio=0.2, interval=2, last=0.0), HeadCache(interval=3, last=0.0)
    schedule = make_schedule((skipping, cached), points=9, guidance=5.0)
    # Computed: 1, 2, 3, 6. Of the measurements at 1, 3, 5, 7 only those of 1 and 5 have a reader: 2 and 6.
    assert [number for number, plan in enumerate(schedule, start=1) if plan.measure] == [1, 5]
    assert [number for number, plan in enumerate(schedule, start=1) if plan.run_backbone] == [1, 2, 3, 5, 6]


def test_a_branch_is_computed_for_whoever_reads_its_state_later() -> None:
    plans = (
        StepPlan(1.0),
        StepPlan(3.0, head="reuse"),
        StepPlan(1.0),
        StepPlan(1.0, head="reuse"),
    )
    found = liveness(plans)
    assert [plan.run_null for plan in found] == [True, True, False, False]
    assert [plan.run_text for plan in found] == [True] * 4
    assert [plan.keep_head for plan in found] == [True, False, True, False]


def test_a_state_that_was_never_computed_cannot_be_reused() -> None:
    with pytest.raises(ConfigurationError, match="first evaluation"):
        liveness((StepPlan(2.0, head="reuse"), StepPlan(2.0)))
