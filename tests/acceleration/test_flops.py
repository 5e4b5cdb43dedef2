"""Predicted arithmetic is what torch's counter finds in the real modules."""

from __future__ import annotations

from dataclasses import replace

import flop_counter
import pytest

from flashu_core.acceleration.flops import describe, prefix_flops
from flashu_core.acceleration.plan import make_schedule
from flashu_core.acceleration.policies import POLICIES, GenerationPolicy
from flashu_core.config import MODELS

ALONE = {
    "exact": GenerationPolicy(),
    "hybrid_ffn": GenerationPolicy(ffn_ratio=0.2),
    "layer_skipping": GenerationPolicy(skip_ratio=0.5),
    "few layers": GenerationPolicy(skip_ratio=0.1),  # too few to skip one of the tiny model's
    "adaptive_guidance": GenerationPolicy(low_guidance=0.2),
    "no branch": GenerationPolicy(low_guidance=0.0),
    "head_cache": GenerationPolicy(head_interval=3),
    **{name: policy.generate for name, policy in POLICIES.items() if name != "exact"},
}


@pytest.mark.parametrize(
    ("name", "guidance_scale", "tokens"),
    [*((name, 5.0, 20) for name in ALONE), ("exact", 1.0, 3), ("flashu", 1.0, 3)],
)
def test_a_forecast_is_what_is_counted(name: str, guidance_scale: float, tokens: int) -> None:
    config, policy = MODELS["tiny"], ALONE[name]
    schedule = make_schedule(policy.techniques, num_inference_steps=11, guidance_scale=guidance_scale)
    counted = flop_counter.generation_cost(
        config, policy, num_inference_steps=11, guidance_scale=guidance_scale, prompt_tokens=tokens
    )
    lines = describe(config, policy, schedule, prompt_tokens=tokens)
    assert [line.index for line in lines] == list(range(1, 11))
    assert sum(line.flops for line in lines) == sum(counted.values()) - counted["prefix"]
    assert prefix_flops(config, policy, schedule, prompt_tokens=tokens) == counted["prefix"]


def test_models_without_a_time_token_and_of_one_width_too() -> None:
    tiny = MODELS["tiny"]
    narrow = replace(tiny.head, hidden_size=tiny.backbone.hidden_size, heads=4, key_value_heads=2)
    policy = POLICIES["flashu"].generate
    for config in (replace(tiny, time_token=False), replace(tiny, head=narrow)):
        schedule = make_schedule(policy.techniques, num_inference_steps=6, guidance_scale=5.0)
        counted = flop_counter.generation_cost(
            config, policy, num_inference_steps=6, guidance_scale=5.0, prompt_tokens=20
        )
        total = sum(line.flops for line in describe(config, policy, schedule, prompt_tokens=20))
        assert total == sum(counted.values()) - counted["prefix"]


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
