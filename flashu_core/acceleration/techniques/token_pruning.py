"""V-norm token pruning: image tokens with the largest values leave after a shallow layer (section 3.5.1)."""

from __future__ import annotations

from dataclasses import dataclass, replace

from flashu_core.acceleration.plan import Flags, Step, StepPlan, Steps


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenPruning:
    """Once, when the picture is read.

    Attributes:
        ratio: share of the image tokens that is dropped.
        layer: the layer, counted from 1, behind which they are missing.
    """

    ratio: float = 0.5
    layer: int = 2

    def plan(self, step: Step, plan: StepPlan) -> StepPlan:
        """Drops in the prefill."""
        return replace(plan, drop=self.ratio, drop_layer=self.layer) if step.index == 1 else plan

    def alike(self, steps: Steps) -> Flags:
        """The prefill, and all others."""
        prefill: Flags = steps.indices == 1
        return prefill
