"""Hybrid FFN: the neurons that matter least to a task are pruned, except in the last steps (section 3.3.1)."""

from __future__ import annotations

from dataclasses import dataclass, replace

from flashu_core.acceleration.plan import Flags, Step, StepPlan, Steps


@dataclass(frozen=True, kw_only=True, slots=True)
class HybridFfn:
    """Pruned neurons first, all of them at the end.

    Attributes:
        last: share of the steps at the end that run all neurons (the threshold of eq. 4).
    """

    last: float = 0.3

    def plan(self, step: Step, plan: StepPlan) -> StepPlan:
        """Prunes until the last steps."""
        return plan if step.within_last(self.last) else replace(plan, ffn="pruned")

    def alike(self, steps: Steps) -> Flags:
        """Those before the last steps, and those."""
        return steps.within_last(self.last)
