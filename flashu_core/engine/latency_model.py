"""What each kind of unit costs in seconds, measured on one model and machine, and what a request will therefore cost.

Plain numbers that cross a process boundary as JSON: prices need neither torch nor the model. It knows plans and
policies, not how anything is measured, nor who waits for whom.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from typing import Any

from flashu_core.acceleration.plan import StepPlan
from flashu_core.acceleration.policies import TaskPolicies, with_own
from flashu_core.acceleration.resolve import resolve_generation, resolve_understanding
from flashu_core.errors import ConfigurationError
from flashu_core.types import GenerateRequest, Request


@dataclass(frozen=True, slots=True)
class UnitCost:
    """Seconds of one kind of unit: what it takes however small it is, and what each row adds.

    Raises:
        ConfigurationError: a value is below 0 or not finite.
    """

    fixed: float
    per_row: float

    def __post_init__(self) -> None:
        for name, value in (("fixed", self.fixed), ("per_row", self.per_row)):
            if not 0.0 <= value < math.inf:
                raise ConfigurationError(f"a unit's cost has {name} {value}; it must be finite and at least 0")

    @classmethod
    def through(cls, seconds: Mapping[int, float]) -> UnitCost:
        """The line through the fewest and the most rows that were measured; of one measurement the line through 0.

        Args:
            seconds: by number of rows; at least one.
        """
        few, many = min(seconds), max(seconds)
        if few == many:
            return cls(0.0, seconds[few] / few)
        slope = min(max((seconds[many] - seconds[few]) / (many - few), 0.0), seconds[few] / few)
        return cls(max(seconds[few] - slope * few, 0.0), slope)

    def seconds(self, rows: float) -> float:
        """Of one unit with that many rows."""
        return self.fixed + self.per_row * rows


@dataclass(frozen=True, kw_only=True, slots=True)
class Quote:
    """What a request takes when it runs alone.

    Attributes:
        start: seconds that do not grow with its units: of a picture its prompt and its pixels, of an answer what
            reading picture and question takes beyond one token.
        unit: seconds of one unit.
        units: steps of a picture; tokens of an answer at most.
        rows: places it takes in a batch.
    """

    start: float
    unit: float
    units: int
    rows: int = 1

    @property
    def seconds(self) -> float:
        """Of all of it; an answer's at its full length."""
        return self.start + self.units * self.unit

    @property
    def work(self) -> int:
        """Denoising steps of all its pictures, or tokens at most: the unit of work limits."""
        return self.units * self.rows


@dataclass(frozen=True, kw_only=True)  # without slots: policies are made once
class UnitCosts:
    """Costs of units, and the model's defaults that a request's units follow from.

    A row of `prefix` is a prompt with a picture, of `vae_decode` a picture, of `prefill` and `decode` an answer; a row
    of the others is one branch of one picture at the default size. A step is one of `backbone_*` (with the
    features) and one of `head_*` (with the guidance).

    Attributes:
        points, guidance: the defaults of sampling.
        pixels: of a picture of the default size.
        policies: parameters of policies that are the checkpoint's own, as in `ModelConfig`.

    Raises:
        ConfigurationError: a number cannot be one of a model.
    """

    prefix: UnitCost
    backbone_full: UnitCost
    backbone_pruned: UnitCost
    backbone_not_needed: UnitCost
    head_computed: UnitCost
    head_reused: UnitCost
    vae_decode: UnitCost
    prefill: UnitCost
    decode: UnitCost
    num_inference_steps: int
    guidance_scale: float
    pixels: int
    policies: Mapping[str, Mapping[str, Mapping[str, float]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.num_inference_steps < 2 or self.pixels < 1 or not math.isfinite(self.guidance_scale):
            raise ConfigurationError(
                f"unit costs have num_inference_steps {self.num_inference_steps}, "
                f"guidance_scale {self.guidance_scale} and "
                f"{self.pixels} pixels; no model has these"
            )

    @cached_property
    def _known(self) -> Mapping[str, TaskPolicies]:
        return with_own(self.policies)

    def price(self, request: Request) -> float:
        """Seconds that a request takes alone; an answer is priced at its full length.

        Raises:
            InvalidRequestError: as `quote`.
        """
        return self.quote(request).seconds

    def quote(self, request: Request) -> Quote:
        """The parts of a request's price.

        Raises:
            InvalidRequestError: its policy or a parameter of it is unknown or out of range.
        """
        if not isinstance(request, GenerateRequest):
            resolve_understanding(request, self._known)
            token = self.decode.seconds(1)
            start = max(self.prefill.seconds(1) - token, 0.0)
            return Quote(start=start, unit=token, units=request.max_new_tokens)
        schedule = resolve_generation(
            request,
            self._known,
            num_inference_steps=self.num_inference_steps,
            guidance_scale=self.guidance_scale,
        ).schedule
        rows = request.num_images * self.relative_size(request.width, request.height)
        steps = sum(count * self.step(plan, rows) for plan, count in schedule.counts.items())
        return Quote(
            start=self.prefix.seconds(request.num_images) + self.vae_decode.seconds(rows),
            unit=steps / len(schedule),
            units=len(schedule),
            rows=request.num_images,
        )

    def relative_size(self, width: int | None, height: int | None) -> float:
        """Rows of the default size that a picture of that size counts for; without attention's quadratic part."""
        return 1.0 if width is None or height is None else width * height / self.pixels

    def step(self, plan: StepPlan, rows: float) -> float:
        """Seconds of one step of that many pictures of the default size."""
        running = rows * (plan.run_cond + plan.run_uncond)
        reading = rows * (plan.reads_cond + plan.reads_uncond)
        if not plan.run_backbone:
            backbone = self.backbone_not_needed.seconds(reading)
        else:
            backbone = (self.backbone_pruned if plan.ffn == "pruned" else self.backbone_full).seconds(running)
        if plan.head == "compute":
            return backbone + self.head_computed.seconds(running)
        return backbone + self.head_reused.seconds(reading)

    def longest(self, rows: float) -> float:
        """Seconds of the longest unit that so many pictures of the default size, or answers, may be in."""
        together = (self.step(StepPlan(2.0), rows), self.vae_decode.seconds(rows), self.decode.seconds(rows))
        return max(*together, self.prefix.seconds(rows), self.prefill.seconds(1))

    def to_json(self) -> dict[str, Any]:
        """Numbers, texts and dictionaries only."""
        return asdict(self)

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> UnitCosts:
        """What `to_json` gave.

        Raises:
            ConfigurationError: something else.
        """
        costs = {one.name for one in fields(cls)} - {"num_inference_steps", "guidance_scale", "pixels", "policies"}
        try:
            values: dict[str, Any] = {
                name: UnitCost(**value) if name in costs else value for name, value in found.items()
            }
            return cls(**values)
        except TypeError as error:
            raise ConfigurationError(f"these are no costs of units: {error}") from error
