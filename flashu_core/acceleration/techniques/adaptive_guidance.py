"""Adaptive guidance: weaker while noise is high, then the base value (section 3.4.1, eq. 8)."""

from __future__ import annotations

from dataclasses import dataclass, replace

from flashu_core.acceleration.plan import Flags, Step, StepPlan, Steps


@dataclass(frozen=True, kw_only=True, slots=True)
class AdaptiveGuidance:
    """Guidance in two parts, which is what lets the grid shrink from 50 to 35 points.

    Attributes:
        low: factor of the guidance at first.
        last: share of the steps at the end that have the base value.
    """

    low: float = 0.75
    last: float = 0.3

    def plan(self, step: Step, plan: StepPlan) -> StepPlan:
        """Weakens the guidance until the last steps."""
        return plan if step.within_last(self.last) else replace(plan, guidance_scale=plan.guidance_scale * self.low)

    def alike(self, steps: Steps) -> Flags:
        """Those before the last steps, and those."""
        return steps.within_last(self.last)
