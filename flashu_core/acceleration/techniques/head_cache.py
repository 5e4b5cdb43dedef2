"""Diffusion head cache: the head's state is computed now and then and used again in between (section 3.4.2)."""

from __future__ import annotations

from dataclasses import dataclass, replace

from flashu_core.acceleration.plan import Flags, Step, StepPlan, Steps


@dataclass(frozen=True, kw_only=True, slots=True)
class HeadCache:
    """Computed at every step that `interval` divides, and until the first of those.

    The final layer always runs, with its own step's time.

    Attributes:
        interval: steps from one computation to the next; 1 computes always.
        last: share of the steps at the end that compute always.
    """

    interval: int = 5
    last: float = 0.3

    def plan(self, step: Step, plan: StepPlan) -> StepPlan:
        """Uses the state again where one is stored and not due."""
        first = step.index < self.interval
        if first or step.index % self.interval == 0 or step.within_last(self.last):
            return plan
        return replace(plan, head="reuse")

    def alike(self, steps: Steps) -> Flags:
        """Those that compute, and those that use a state again."""
        number = steps.indices
        computes: Flags = (number < self.interval) | (number % self.interval == 0) | steps.within_last(self.last)
        return computes
