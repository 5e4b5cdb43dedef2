"""The variants that a grading compares: policies, the ablation of the techniques, and sweeps of single parameters.

Data only. Source: arXiv 2603.15271, tables 4 and 5 (ablation) and figures 8 to 10 (sensitivity).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from flashu_core import Task

Study = Literal["none", "ablation", "sensitivity", "tradeoff"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Variant:
    """A policy with single parameters changed, for each task; a task that is not named keeps the policy as it is.

    `num_inference_steps` are the points of its pictures; the model's own where it is None.
    """

    name: str
    policy: str
    overrides: Mapping[Task, Mapping[str, float]] = field(default_factory=dict)
    num_inference_steps: int | None = None

    def of(self, task: Task) -> Mapping[str, float]:
        """The overrides of one task."""
        return self.overrides.get(task, {})


def _both(name: str, **values: float) -> Variant:
    return Variant(name=name, policy="flashu", overrides={"generate": values, "vqa": values})


EXACT = Variant(name="exact", policy="exact")
# The cheapest thing that saves as much as a technique does: the same model with fewer points.
CONTROLS: tuple[Variant, ...] = tuple(
    Variant(name=f"exact, {points} points", policy="exact", num_inference_steps=points)
    for points in (35, 20, 14, 10, 7)
)
ABLATION: tuple[Variant, ...] = (
    Variant(name="all techniques", policy="flashu"),
    _both("without layer skipping", skip_ratio=0.0),
    _both("without hybrid FFN", ffn_ratio=0.0),
    Variant(name="without adaptive guidance", policy="flashu", overrides={"generate": {"low_guidance": 1.0}}),
    Variant(name="without head cache", policy="flashu", overrides={"generate": {"head_interval": 1}}),
    Variant(name="without token pruning", policy="flashu", overrides={"vqa": {"token_ratio": 0.0}}),
    Variant(
        name="FFN pruning only",
        policy="exact",
        overrides={
            "generate": {"ffn_ratio": 0.2, "hybrid_threshold": 0.0},
            "vqa": {"ffn_ratio": 0.1, "hybrid_threshold": 0.0},
        },
    ),
)
SENSITIVITY: tuple[Variant, ...] = (
    *(_both(f"ffn_ratio {value}", ffn_ratio=value) for value in (0.1, 0.2, 0.3, 0.4, 0.5)),
    *(_both(f"skip_ratio {value}", skip_ratio=value) for value in (0.1, 0.2, 0.3, 0.4)),
    *(_both(f"hybrid_threshold {value}", hybrid_threshold=value) for value in (0.0, 0.1, 0.2, 0.3, 0.5)),
)


def _drawn(name: str, asked: Mapping[str, float], **values: float) -> Variant:
    return Variant(name=name, policy="flashu", overrides={"generate": values, "vqa": asked})


_LESS: Mapping[str, float] = {"ffn_ratio": 0.05, "skip_ratio": 0.05}
_MORE: Mapping[str, float] = {"ffn_ratio": 0.2, "skip_ratio": 0.2}
# What `flashu-quality` and `flashu-fast` were chosen from.
TRADEOFF: tuple[Variant, ...] = (
    _drawn("head every 2", _LESS, head_interval=2),
    _drawn("head every 3", _LESS, head_interval=3),
    _drawn("head every 3, half the ratios", _LESS, head_interval=3, ffn_ratio=0.1, skip_ratio=0.1),
    _drawn("all points, head every 3", _LESS, points=1.0, head_interval=3),
    _drawn("half the points", _MORE, points=0.5),
    _drawn("half the points, head every 3", _MORE, points=0.5, head_interval=3),
    _drawn("half the points, ratios 0.3", _MORE, points=0.5, ffn_ratio=0.3, skip_ratio=0.3),
    _drawn("a third of the points, head every 3", _MORE, points=0.36, head_interval=3),
)


def variants(policies: list[str], study: Study) -> tuple[Variant, ...]:
    """The named policies as they are, then those of a study."""
    more: Mapping[Study, tuple[Variant, ...]] = {
        "none": (),
        "ablation": ABLATION,
        "sensitivity": SENSITIVITY,
        "tradeoff": TRADEOFF,
    }
    return (*(Variant(name=policy, policy=policy) for policy in policies), *more[study])
