"""The seam between techniques and the model: plans in, traces out.

A schedule is a tuple of small immutable plans, one for each evaluation, all made before the first evaluation runs. A
technique changes plans, liveness strikes out what nothing reads, the engine executes the rest; the model is told levers
only. What is decided while running (which layers are similar) is the request's state, never a plan's. Imports no torch.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal, Protocol

from flashu_core.errors import ConfigurationError

FfnPath = Literal["full", "pruned"]


@dataclass(frozen=True, slots=True)
class Step:
    """An evaluation's place in its schedule.

    Attributes:
        evaluation: counts from 1.
        points: of the time grid, which has one evaluation less; of an answer, its tokens at most.
    """

    evaluation: int
    points: int

    def within_last(self, share: float) -> bool:
        """Whether the evaluation is one of the last `share` of the points: above T - ceil(share * T) (3.3.1, eq. 4)."""
        # Rounded first: 0.3 * 10 is a little more than 3.
        return self.evaluation > self.points - math.ceil(round(share * self.points, 9))


@dataclass(frozen=True, slots=True)
class StepPlan:
    """What one evaluation does; of an answer, what one decoded token does.

    Attributes:
        guidance: how far to move from the null branch's velocity to the text branch's; at 1 the null branch is not
            read and at 0 the text branch is not.
        ffn: which neurons run in the backbone.
        layers: all of them, or without those the request last measured as similar.
        measure: the share of the layers that is left out from here on, chosen by their similarity in this evaluation;
            0 measures nothing.
        head: whether the head's state is computed, or the last computed one is used again.
        drop: the share of the image tokens that a prefill drops behind layer `drop_layer`, counted from 1.
        keep_head: whether a later evaluation uses this one's head state again.
        run_backbone: whether anything reads the backbone's output.
        run_text, run_null: which branches are computed: those that this evaluation or a later one reads.
    """

    guidance: float
    ffn: FfnPath = "full"
    layers: Literal["all", "measured"] = "all"
    measure: float = 0.0
    head: Literal["compute", "reuse"] = "compute"
    drop: float = 0.0
    drop_layer: int = 0
    # What follows is liveness' to say, not a technique's.
    keep_head: bool = False
    run_backbone: bool = True
    run_text: bool = True
    run_null: bool = True

    @property
    def reads_text(self) -> bool:
        """Whether the text branch's velocity reaches the result."""
        return self.guidance != 0.0

    @property
    def reads_null(self) -> bool:
        """Whether the null branch's velocity reaches the result."""
        return self.guidance != 1.0

    @property
    def work(self) -> tuple[FfnPath, str, bool]:
        """Evaluations that agree on this can share a pass."""
        return (self.ffn, self.head, self.run_backbone)


class Technique(Protocol):
    """A frozen dataclass of parameters with one pure hook."""

    def plan(self, step: Step, plan: StepPlan) -> StepPlan:
        """The plan of that evaluation as this technique wants it."""
        ...


Policy = tuple[Technique, ...]
Schedule = tuple[StepPlan, ...]


def make_schedule(policy: Policy, *, points: int, guidance: float) -> Schedule:
    """The plans of a picture's evaluations: each technique in turn changes what the ones before it left; then liveness.

    Args:
        policy: techniques, applied in order.
        points: points of the time grid; N points are N - 1 evaluations.
        guidance: what every evaluation starts from.

    Raises:
        ConfigurationError: fewer than two points.
    """
    if points < 2:
        raise ConfigurationError(f"a time grid of {points} points has no evaluation; use at least 2")
    return _fold(policy, points - 1, points, StepPlan(guidance))


def make_answer_schedule(policy: Policy, *, tokens: int) -> Schedule:
    """The plans of an answer of at most that many tokens: the prefill, which draws the first, then one for each more.

    Raises:
        ConfigurationError: no token.
    """
    if tokens < 1:
        raise ConfigurationError(f"an answer of {tokens} tokens is none; use at least 1")
    return _fold(policy, tokens, tokens, StepPlan(1.0))


def _fold(policy: Policy, evaluations: int, points: int, start: StepPlan) -> Schedule:
    plans = []
    for evaluation in range(1, evaluations + 1):
        plan = start
        for technique in policy:
            plan = technique.plan(Step(evaluation, points), plan)
        plans.append(plan)
    return liveness(plans)


def liveness(plans: Iterable[StepPlan]) -> Schedule:
    """Strikes out what nothing reads, from the last evaluation to the first.

    A head state is read by its own evaluation and by those that use it again; a measurement by the evaluations that
    leave layers out before the next one; the backbone by the head, and by a measurement that is read.
    """
    marked: list[StepPlan] = []
    reused = reads_text = reads_null = measurement_read = False
    for plan in reversed(tuple(plans)):
        reads_text, reads_null = reads_text or plan.reads_text, reads_null or plan.reads_null
        compute = plan.head == "compute"
        measure = plan.measure if measurement_read else 0.0
        run = compute or measure > 0
        marked.append(
            replace(
                plan,
                measure=measure,
                keep_head=compute and reused,
                run_backbone=run,
                run_text=reads_text if compute else plan.reads_text,
                run_null=reads_null if compute else plan.reads_null,
            )
        )
        if compute:
            reused = reads_text = reads_null = False
        else:
            reused = True
        if plan.measure:
            measurement_read = False
        elif run and plan.layers == "measured":
            measurement_read = True
    if reused:
        raise ConfigurationError("the first evaluation reuses a head state that no evaluation computed")
    return tuple(reversed(marked))
