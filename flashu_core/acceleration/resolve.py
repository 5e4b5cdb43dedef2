"""What a request amounts to: its policy with its overrides, its numbers with their defaults, and the schedule of both.

Resolved once in each process that needs it, for its price before the request is queued and for its passes in the
engine. Imports no torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from flashu_core.acceleration.plan import Schedule, make_answer_schedule, make_schedule
from flashu_core.acceleration.policies import (
    GenerationPolicy,
    TaskPolicies,
    UnderstandingPolicy,
    find_policy,
    override,
)
from flashu_core.types import GenerateRequest, UnderstandRequest

Policies = Mapping[str, TaskPolicies]


@dataclass(frozen=True, slots=True)
class ResolvedGeneration:
    """A policy, `num_inference_steps` points of the time grid, and a plan for each denoising step between them."""

    policy: GenerationPolicy
    num_inference_steps: int
    guidance_scale: float
    schedule: Schedule


@dataclass(frozen=True, slots=True)
class ResolvedUnderstanding:
    """A policy, and a plan for each token that an answer may have."""

    policy: UnderstandingPolicy
    schedule: Schedule


def resolve_generation(
    request: GenerateRequest, policies: Policies, *, num_inference_steps: int, guidance_scale: float
) -> ResolvedGeneration:
    """Resolves a generation request.

    Args:
        policies: by name.
        num_inference_steps, guidance_scale: the model's defaults.

    Raises:
        InvalidRequestError: the policy or a parameter of it is unknown, or a value is out of range.
    """
    policy = override(find_policy(request.acceleration, policies).generate, request.overrides)
    points = request.num_inference_steps
    points = policy.inference_steps_of(num_inference_steps) if points is None else points
    scale = guidance_scale if request.guidance_scale is None else request.guidance_scale
    schedule = make_schedule(policy.techniques, num_inference_steps=points, guidance_scale=scale)
    return ResolvedGeneration(policy, points, scale, schedule)


def resolve_understanding(request: UnderstandRequest, policies: Policies) -> ResolvedUnderstanding:
    """Resolves an understanding request. Raises as `resolve_generation`."""
    policy = override(find_policy(request.acceleration, policies).vqa, request.overrides)
    return ResolvedUnderstanding(policy, make_answer_schedule(policy.techniques, tokens=request.max_new_tokens))
