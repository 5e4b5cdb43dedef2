"""Predicted arithmetic is what counting finds."""

from __future__ import annotations

import pytest

from benchmarks import flops
from flashu_core.acceleration.flops import describe
from flashu_core.acceleration.plan import make_schedule
from flashu_core.acceleration.policies import POLICIES, GenerationPolicy
from flashu_core.config import MODELS

TOKENS = 20


@pytest.mark.parametrize("guidance_scale", [1.0, 5.0])
@pytest.mark.parametrize(
    "policy", [GenerationPolicy(), POLICIES["flashu"].generate, GenerationPolicy(skip_ratio=0.5)], ids=str
)
def test_a_forecast_is_what_is_counted(policy: GenerationPolicy, guidance_scale: float) -> None:
    config = MODELS["tiny"]
    schedule = make_schedule(policy.techniques, num_inference_steps=15, guidance_scale=guidance_scale)
    lines = describe(config, policy, schedule, prompt_tokens=TOKENS)
    counted = flops.generation_cost(
        config, policy, num_inference_steps=15, guidance_scale=guidance_scale, prompt_tokens=TOKENS
    )
    assert sum(line.flops for line in lines) == counted.denoising - counted.parts["prefix"]
    assert [line.index for line in lines] == list(range(1, 15))


def test_a_line_says_what_runs() -> None:
    config, policy = MODELS["1.5b"], POLICIES["flashu"].generate
    lines = describe(
        config, policy, make_schedule(policy.techniques, num_inference_steps=35, guidance_scale=5.0), prompt_tokens=64
    )
    shown = {(line.backbone, line.layers, line.head) for line in lines}
    assert shown == {
        ("pruned", "28, measured", "computed"),
        ("pruned", "28, measured", "reused"),
        ("pruned", "23", "computed"),
        ("not needed", "", "reused"),
        ("full", "28", "computed"),
    }
