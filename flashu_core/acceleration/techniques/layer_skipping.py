"""Dynamic layer skipping: layers that hardly change their input are skipped for some steps (section 3.3.2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from flashu_core.acceleration.plan import Numbers, Step, StepPlan, Steps


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerSkipping:
    """All layers run and are measured at the first step of every interval.

    Attributes:
        ratio: share of the layers that is skipped.
        interval: steps from one measurement to the next.
        last: share of the steps at the end that run all layers.
    """

    ratio: float
    interval: int = 10
    last: float = 0.3

    def plan(self, step: Step, plan: StepPlan) -> StepPlan:
        """Measures, then skips what was measured."""
        if self.ratio == 0.0 or step.within_last(self.last):
            return plan
        if (step.index - 1) % self.interval == 0:
            return replace(plan, measure=self)
        return replace(plan, layers="measured")

    def alike(self, steps: Steps) -> Numbers:
        """The last steps, those that measure, and those that skip layers."""
        first = (steps.indices - 1) % self.interval == 0
        return np.where(steps.within_last(self.last), 0, np.where(first, 1, 2))

    def observe(self, similarities: Sequence[float]) -> frozenset[int]:
        """The share `ratio` of the layers whose outputs are most like their inputs."""
        return similar_layers(similarities, self.ratio)


def similar_layers(similarities: Sequence[float], ratio: float) -> frozenset[int]:
    """The share `ratio` of the layers, rounded down, whose outputs are most like their inputs (eq. 6 and 7).

    Args:
        similarities: the cosine of each layer's input and output.
        ratio: in [0, 1).
    """
    # Rounded first: 0.3 * 10 is a little less than 3 in some orders of multiplication.
    count = int(round(ratio * len(similarities), 9))
    order = sorted(range(len(similarities)), key=lambda layer: (-similarities[layer], layer))
    return frozenset(order[:count])
