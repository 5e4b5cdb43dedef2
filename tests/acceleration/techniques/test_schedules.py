"""What every technique promises, and the schedule that all of them together make."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flashu_core.acceleration.plan import (
    Schedule,
    Step,
    StepPlan,
    Technique,
    liveness,
    make_answer_schedule,
    make_schedule,
)
from flashu_core.acceleration.policies import POLICIES, GenerationPolicy, UnderstandingPolicy
from flashu_core.acceleration.techniques.adaptive_guidance import AdaptiveGuidance
from flashu_core.acceleration.techniques.head_cache import HeadCache
from flashu_core.acceleration.techniques.hybrid_ffn import HybridFfn
from flashu_core.acceleration.techniques.layer_skipping import LayerSkipping
from flashu_core.acceleration.techniques.token_pruning import TokenPruning
from flashu_core.errors import ConfigurationError

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
@pytest.mark.parametrize("num_inference_steps", [2, 7, 35])
def test_a_technique_switched_off_leaves_no_trace(technique: Technique, num_inference_steps: int) -> None:
    assert make_schedule((technique,), num_inference_steps=num_inference_steps, guidance_scale=5.0) == make_schedule(
        (), num_inference_steps=num_inference_steps, guidance_scale=5.0
    )
    assert make_answer_schedule((technique,), tokens=num_inference_steps) == make_answer_schedule(
        (), tokens=num_inference_steps
    )


@pytest.mark.parametrize("technique", ACTIVE, ids=str)
def test_a_technique_is_a_pure_value(technique: Technique) -> None:
    step, plan = Step(2, 35), StepPlan(5.0)
    assert technique.plan(step, plan) == technique.plan(step, plan)
    assert plan == StepPlan(5.0)
    first, second = (make_schedule((technique,), num_inference_steps=35, guidance_scale=5.0) for _ in range(2))
    assert first == second
    assert hash(first) == hash(second)


def test_the_defaults_compute_what_is_read_and_no_more() -> None:
    """The original's passes for 35 points, without dead computation."""
    schedule = make_schedule(POLICIES["flashu"].generate.techniques, num_inference_steps=35, guidance_scale=10.0)
    assert len(schedule) == 34
    backbone = [number for number, plan in enumerate(schedule, start=1) if plan.run_backbone]
    head = [number for number, plan in enumerate(schedule, start=1) if plan.head == "compute"]
    assert backbone == [1, 2, 3, 4, 5, 10, 11, 15, 20, *range(25, 35)]
    assert head == [number for number in backbone if number != 11]
    assert [number for number, plan in enumerate(schedule, start=1) if plan.measure] == [1, 11]
    assert [plan.ffn for plan in schedule] == ["pruned"] * 24 + ["full"] * 10
    assert [plan.guidance_scale for plan in schedule] == [7.5] * 24 + [10.0] * 10
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
    schedule = make_schedule((skipping, cached), num_inference_steps=9, guidance_scale=5.0)
    # Computed: 1, 2, 3, 6. Of the measurements at 1, 3, 5, 7 only those of 1 and 5 have a reader: 2 and 6.
    assert [number for number, plan in enumerate(schedule, start=1) if plan.measure] == [1, 5]
    assert [number for number, plan in enumerate(schedule, start=1) if plan.run_backbone] == [1, 2, 3, 5, 6]


def test_a_branch_is_computed_when_a_later_step_reads_its_state() -> None:
    plans = (
        StepPlan(1.0),
        StepPlan(3.0, head="reuse"),
        StepPlan(1.0),
        StepPlan(1.0, head="reuse"),
    )
    found = liveness(Schedule(plans))
    assert [plan.run_uncond for plan in found] == [True, True, False, False]
    assert [plan.run_cond for plan in found] == [True] * 4
    assert [plan.keep_head for plan in found] == [True, False, True, False]


def test_a_state_that_was_never_computed_cannot_be_reused() -> None:
    with pytest.raises(ConfigurationError, match="first step"):
        liveness(Schedule([StepPlan(2.0, head="reuse"), StepPlan(2.0)]))


def one_by_one(policy: Sequence[Technique], indices: int, num_inference_steps: int, start: StepPlan) -> list[StepPlan]:
    """A schedule by its definition: every technique applied to every step, then one walk backwards that removes
    dead computation."""
    plans = []
    for index in range(1, indices + 1):
        plan = start
        for technique in policy:
            plan = technique.plan(Step(index, num_inference_steps), plan)
        plans.append(plan)
    marked: list[StepPlan] = []
    reused = reads_cond = reads_uncond = measurement_read = False
    for plan in reversed(plans):
        reads_cond, reads_uncond = reads_cond or plan.reads_cond, reads_uncond or plan.reads_uncond
        compute = plan.head == "compute"
        measure = plan.measure if measurement_read else None
        run = compute or measure is not None
        marked.append(
            replace(
                plan,
                measure=measure,
                keep_head=compute and reused,
                run_backbone=run,
                run_cond=reads_cond if compute else plan.reads_cond,
                run_uncond=reads_uncond if compute else plan.reads_uncond,
            )
        )
        if compute:
            reused = reads_cond = reads_uncond = False
        else:
            reused = True
        if plan.measure:
            measurement_read = False
        elif run and plan.layers == "measured":
            measurement_read = True
    return marked[::-1]


shares = st.sampled_from([0.0, 0.1, 0.3, 0.5, 0.999, 1.0]) | st.floats(0.0, 1.0, allow_subnormal=False)
intervals = st.integers(1, 12) | st.integers(1, 1000)
PARAMETERS = st.fixed_dictionaries(
    {"hybrid_threshold": shares, "skip_interval": intervals},
    optional={
        "ffn_ratio": st.floats(0.0, 0.9, allow_subnormal=False),
        "skip_ratio": st.floats(0.0, 0.9, allow_subnormal=False),
    },
)


@settings(deadline=None, max_examples=300)
@given(
    PARAMETERS,
    st.fixed_dictionaries(
        {}, optional={"low_guidance": st.sampled_from([0.0, 0.2, 0.75, 1.0, 5.0]), "guidance_threshold": shares}
    ),
    intervals,
    st.integers(2, 60),
    st.sampled_from([0.0, 1.0, 5.0]),
)
def test_equal_steps_are_planned_as_one_by_one(
    shared: dict[str, Any], own: dict[str, Any], head: int, num_inference_steps: int, guidance_scale: float
) -> None:
    policy = GenerationPolicy(**shared, **own, head_interval=head).techniques
    found = make_schedule(policy, num_inference_steps=num_inference_steps, guidance_scale=guidance_scale)
    assert list(found) == one_by_one(policy, num_inference_steps - 1, num_inference_steps, StepPlan(guidance_scale))
    answering = UnderstandingPolicy(**shared, token_ratio=0.5).techniques
    assert list(make_answer_schedule(answering, tokens=num_inference_steps)) == one_by_one(
        answering, num_inference_steps, num_inference_steps, StepPlan(1.0)
    )
