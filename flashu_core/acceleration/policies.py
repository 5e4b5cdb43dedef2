"""Acceleration policies by name: for each task the parameters of its techniques. Data, and the checks on it.

`exact` leaves everything as it is. The defaults of `flashu` are the paper's (arXiv 2603.15271, tables 7 and 8). A
request may override single parameters; one that is neutral leaves no trace in the schedule.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from types import MappingProxyType
from typing import TypeVar

from flashu_core.acceleration.plan import Policy, Technique
from flashu_core.acceleration.techniques.adaptive_guidance import AdaptiveGuidance
from flashu_core.acceleration.techniques.head_cache import HeadCache
from flashu_core.acceleration.techniques.hybrid_ffn import HybridFfn
from flashu_core.acceleration.techniques.layer_skipping import LayerSkipping
from flashu_core.acceleration.techniques.token_pruning import TokenPruning
from flashu_core.errors import ConfigurationError, InvalidRequestError
from flashu_core.limits import MAX_INFERENCE_STEPS

MAX_PRUNED = 0.9
MAX_INTERVAL = 1000
MULTIPLE = 64  # neurons that are kept are a multiple of this
Overrides = Mapping[str, float]
Own = Mapping[str, Overrides]  # by task


def _within(name: str, value: float, low: float, high: float) -> None:
    # Written so that a NaN fails too.
    if not low <= value <= high:
        raise InvalidRequestError(f"{name} is {value:g}; it must be from {low:g} to {high:g}", parameter="acceleration")


def kept_count(neurons: int, ratio: float) -> int:
    """How many neurons stay when the share `ratio` is pruned: rounded down to a multiple of 64, but never to none."""
    if ratio == 0.0:
        return neurons
    # Rounded first: 0.9 * 640 is a little less than 576 in some orders of multiplication.
    return min(max(int(round((1 - ratio) * neurons, 6)) // MULTIPLE * MULTIPLE, MULTIPLE), neurons)


@dataclass(frozen=True, kw_only=True, slots=True)
class SharedPolicy:
    """What both tasks have; the default of every parameter is neutral.

    Attributes:
        ffn_ratio: share of the FFN neurons that is pruned.
        hybrid_threshold: share of the steps, or of an answer's token budget, at the end that run everything.
        skip_ratio: share of the layers that is skipped.
        skip_interval: steps, or tokens, from one measurement to the next.

    Raises:
        InvalidRequestError: a value is out of range.
    """

    ffn_ratio: float = 0.0
    hybrid_threshold: float = 0.3
    skip_ratio: float = 0.0
    skip_interval: int = 10

    def __post_init__(self) -> None:
        _within("ffn_ratio", self.ffn_ratio, 0.0, MAX_PRUNED)
        _within("hybrid_threshold", self.hybrid_threshold, 0.0, 1.0)
        _within("skip_ratio", self.skip_ratio, 0.0, MAX_PRUNED)
        _within("skip_interval", self.skip_interval, 1, MAX_INTERVAL)

    @property
    def techniques(self) -> Policy:
        """What is not neutral, in the order in which plans are changed."""
        found: list[Technique] = []
        if self.ffn_ratio:
            found.append(HybridFfn(last=self.hybrid_threshold))
        if self.skip_ratio:
            found.append(LayerSkipping(ratio=self.skip_ratio, interval=self.skip_interval, last=self.hybrid_threshold))
        return (*found, *self._own)

    @property
    def _own(self) -> Policy:
        return ()


@dataclass(frozen=True, kw_only=True, slots=True)
class GenerationPolicy(SharedPolicy):
    """How a picture is drawn.

    Attributes:
        points: points of the time grid, as a share of the model's own number.
        low_guidance: factor of the guidance before the last `guidance_threshold` of the steps.
        head_interval: steps from one computation of the head to the next.
    """

    points: float = 1.0
    low_guidance: float = 1.0
    guidance_threshold: float = 0.3
    head_interval: int = 1

    def __post_init__(self) -> None:
        SharedPolicy.__post_init__(self)
        _within("points", self.points, 0.01, 10.0)
        _within("low_guidance", self.low_guidance, 0.0, 10.0)
        _within("guidance_threshold", self.guidance_threshold, 0.0, 1.0)
        _within("head_interval", self.head_interval, 1, MAX_INTERVAL)

    def inference_steps_of(self, default: int) -> int:
        """Points of the time grid of a picture that names none, where the model's own number is `default`."""
        return min(max(round(default * self.points), 2), MAX_INFERENCE_STEPS)

    @property
    def _own(self) -> Policy:
        found: list[Technique] = []
        if self.low_guidance != 1.0:
            found.append(AdaptiveGuidance(low=self.low_guidance, last=self.guidance_threshold))
        if self.head_interval > 1:
            found.append(HeadCache(interval=self.head_interval, last=self.hybrid_threshold))
        return tuple(found)


@dataclass(frozen=True, kw_only=True, slots=True)
class UnderstandingPolicy(SharedPolicy):
    """How a question is answered.

    Attributes:
        token_ratio, token_layer: share of the image tokens that is dropped, and the layer behind which.
    """

    token_ratio: float = 0.0
    token_layer: int = 2

    def __post_init__(self) -> None:
        SharedPolicy.__post_init__(self)
        _within("token_ratio", self.token_ratio, 0.0, MAX_PRUNED)
        _within("token_layer", self.token_layer, 1, MAX_INTERVAL)

    @property
    def _own(self) -> Policy:
        return (TokenPruning(ratio=self.token_ratio, layer=self.token_layer),) if self.token_ratio else ()


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskPolicies:
    """What one name means for each task."""

    generate: GenerationPolicy = GenerationPolicy()
    vqa: UnderstandingPolicy = UnderstandingPolicy()


_FLASHU = TaskPolicies(
    generate=GenerationPolicy(points=0.7, ffn_ratio=0.2, skip_ratio=0.2, low_guidance=0.75, head_interval=5),
    vqa=UnderstandingPolicy(ffn_ratio=0.1, skip_ratio=0.1, token_ratio=0.5),
)

# What the variants of `flashu` change of it, chosen from `benchmarks/results/tradeoff-shapes-64.json`; FFN ratios stay,
# since any other than a checkpoint's own is gathered instead of viewed.
_VARIANTS: Mapping[str, Own] = MappingProxyType(
    {
        "flashu-quality": {"generate": {"head_interval": 2}, "vqa": {"skip_ratio": 0.05}},
        "flashu-fast": {"generate": {"points": 0.5, "head_interval": 3}, "vqa": {"skip_ratio": 0.2}},
    }
)


def _number(name: str, value: float) -> float:
    try:
        return float(value)
    except OverflowError:  # Python's integers have no end
        raise InvalidRequestError(
            f"{name} is {'larger' if value > 0 else 'smaller'} than any number that can be used",
            parameter="acceleration",
        ) from None


P = TypeVar("P", GenerationPolicy, UnderstandingPolicy)


def override(policy: P, overrides: Overrides) -> P:
    """The policy with single parameters changed.

    Raises:
        InvalidRequestError: the task has no parameter of that name, or a value cannot be used.
    """
    known = {field.name: type(getattr(policy, field.name)) for field in fields(policy)}
    for name, value in overrides.items():
        if name not in known:
            likely = difflib.get_close_matches(name, known, n=1)
            remedy = f"did you mean {likely[0]}?" if likely else f"use: {', '.join(known)}"
            raise InvalidRequestError(
                f"there is no parameter {name!r} of this task's acceleration; {remedy}",
                parameter="acceleration",
            )
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise InvalidRequestError(f"{name} is {value!r}; it must be a number", parameter="acceleration")
        number = _number(name, value)
        if known[name] is int and not number.is_integer():
            raise InvalidRequestError(f"{name} is {number:g}; it must be a whole number", parameter="acceleration")
    changed = {name: known[name](value) for name, value in overrides.items()}
    return replace(policy, **changed)


def _changed(policy: TaskPolicies, own: Own) -> TaskPolicies:
    if unknown := set(own) - {"generate", "vqa"}:
        raise ConfigurationError(f"a policy has no task {min(unknown)!r}; use 'generate' or 'vqa'")
    return TaskPolicies(
        generate=override(policy.generate, own.get("generate", {})), vqa=override(policy.vqa, own.get("vqa", {}))
    )


def with_own(own: Mapping[str, Own]) -> Mapping[str, TaskPolicies]:
    """All policies, with a checkpoint's own parameters (by policy, task and name) in place of the defaults.

    What it says of `flashu` holds for the variants too, but for what they change themselves.

    Raises:
        ConfigurationError: a policy, a task or a parameter is unknown, or a value cannot be used.
    """
    found = {"exact": TaskPolicies(), "flashu": _FLASHU}
    try:
        for name in found:
            found[name] = _changed(found[name], own.get(name, {}))
        for name, changes in _VARIANTS.items():
            found[name] = _changed(_changed(found["flashu"], changes), own.get(name, {}))
        for name in own:
            find_policy(name, found)
    except InvalidRequestError as error:
        raise ConfigurationError(f"the checkpoint's policies cannot be used: {error}") from error
    return MappingProxyType(found)


def find_policy(name: str, policies: Mapping[str, TaskPolicies]) -> TaskPolicies:
    """The policy of that name.

    Raises:
        InvalidRequestError: there is none.
    """
    try:
        return policies[name]
    except KeyError:
        raise InvalidRequestError(
            f"there is no acceleration policy {name!r}; use one of: {', '.join(policies)}", parameter="acceleration"
        ) from None


POLICIES: Mapping[str, TaskPolicies] = with_own({})
