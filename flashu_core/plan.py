"""The seam between techniques and the model: plans in, traces out.

A schedule is a tuple of small immutable plans, one for each evaluation, all made before the first evaluation runs. A
technique changes plans; the engine executes them; the model is told levers only. Imports no torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from flashu_core.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class Step:
    """An evaluation's place in its schedule: `evaluation` counts from 1 to `of`."""

    evaluation: int
    of: int


@dataclass(frozen=True, slots=True)
class StepPlan:
    """What one evaluation does.

    Attributes:
        guidance: how far to move from the null branch's velocity to the text branch's; at 1 the null branch is not
            read and at 0 the text branch is not, so neither is computed then.
    """

    guidance: float

    @property
    def reads_text(self) -> bool:
        """Whether the text branch's velocity reaches the result."""
        return self.guidance != 0.0

    @property
    def reads_null(self) -> bool:
        """Whether the null branch's velocity reaches the result."""
        return self.guidance != 1.0


class Technique(Protocol):
    """A frozen dataclass of parameters with one pure hook."""

    def plan(self, step: Step, plan: StepPlan) -> StepPlan:
        """The plan of that evaluation as this technique wants it."""
        ...


Policy = tuple[Technique, ...]
Schedule = tuple[StepPlan, ...]


def make_schedule(policy: Policy, *, points: int, guidance: float) -> Schedule:
    """The plans of all evaluations: each technique in turn changes what the ones before it left.

    Args:
        policy: techniques, applied in order.
        points: points of the time grid; N points are N - 1 evaluations.
        guidance: what every evaluation starts from.

    Raises:
        ConfigurationError: fewer than two points.
    """
    if points < 2:
        raise ConfigurationError(f"a time grid of {points} points has no evaluation; use at least 2")
    plans = []
    for evaluation in range(1, points):
        plan = StepPlan(guidance)
        for technique in policy:
            plan = technique.plan(Step(evaluation, points - 1), plan)
        plans.append(plan)
    return tuple(plans)
