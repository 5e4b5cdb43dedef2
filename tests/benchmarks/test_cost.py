"""Counted arithmetic: against formulas on a small model, and within the limits on the published sizes."""

from __future__ import annotations

import json

import pytest
import torch

from benchmarks import cost, flops
from flashu_core.acceleration.plan import StepPlan
from flashu_core.acceleration.policies import POLICIES, GenerationPolicy, UnderstandingPolicy
from flashu_core.config import MODELS, ModelConfig

TERA = 1e12
TOKENS = 64
EXACT = GenerationPolicy()


def _decoder(width: int, heads: int, shared: int, ffn_size: int, new: int, seen: int) -> int:
    """One layer on `new` tokens that attend to `seen`."""
    size = width // heads
    projections = 2 * width * width + 2 * width * shared * size
    return 2 * new * (projections + 3 * width * ffn_size) + 4 * new * seen * heads * size


def _backbone(config: ModelConfig, new: int, seen: int) -> int:
    part = config.backbone
    layer = _decoder(part.hidden_size, part.heads, part.key_value_heads, part.ffn_size, new, seen)
    return part.layers * layer


def test_a_step_costs_what_the_formula_says() -> None:
    config = MODELS["tiny"]
    found = flops.generation_cost(config, EXACT, num_inference_steps=3, guidance_scale=5.0, prompt_tokens=TOKENS)
    rows, columns = config.grids[0]
    block = rows * columns + 1
    assert found.parts["backbone"] == 2 * sum(
        _backbone(config, block, prefix + block) for prefix in (TOKENS, flops.UNCOND_TOKENS)
    )
    assert sum(found.step.values()) * 2 + found.parts["prefix"] == found.denoising
    assert list(found.step) == [StepPlan(5.0)]


def test_pictures_that_share_a_batch_cost_as_many_times_as_much() -> None:
    config = MODELS["tiny"]
    one, two = (
        flops.generation_cost(
            config, EXACT, num_inference_steps=2, guidance_scale=5.0, prompt_tokens=TOKENS, images=images
        )
        for images in (1, 2)
    )
    assert two.parts["backbone"] == 2 * one.parts["backbone"]
    assert two.parts["prefix"] == one.parts["prefix"]
    assert two.vae_decode == 2 * one.vae_decode


def test_a_branch_that_is_not_read_is_not_computed() -> None:
    config = MODELS["tiny"]
    both, text = (
        flops.generation_cost(
            config, EXACT, num_inference_steps=2, guidance_scale=guidance_scale, prompt_tokens=flops.UNCOND_TOKENS
        )
        for guidance_scale in (5.0, 1.0)
    )
    assert both.parts["backbone"] == 2 * text.parts["backbone"]
    assert both.parts["features"] == text.parts["features"]


def test_a_decoded_token_reads_the_cache() -> None:
    config = MODELS["tiny"]
    found = flops.answer_cost(config, UnderstandingPolicy(), question_tokens=20)
    rows, columns = config.grids[0]
    seen = flops.SYSTEM_TOKENS + rows * columns + 1 + 20 + 1
    head = 2 * config.backbone.hidden_size * config.backbone.vocabulary
    assert found.parts["token"] == _backbone(config, 1, seen) + head
    assert set(found.parts) == {"system", "vae_encode", "features", "prefill", "token"}
    assert found.reference_token > 20 * found.parts["token"]


def test_counting_counts_its_block_only() -> None:
    left, right = torch.empty(3, 5, device="meta"), torch.empty(5, 7, device="meta")
    assert flops.count(lambda: left @ right) == 2 * 3 * 5 * 7
    assert flops.count(lambda: left + left) == 0


@pytest.mark.parametrize(("size", "maximum", "original"), [("1.5b", 325, 523), ("7b", 1083, 1660)])
def test_the_published_sizes_stay_within_their_limits(size: str, maximum: int, original: int) -> None:
    config = MODELS[size]
    found = flops.generation_cost(config, EXACT, num_inference_steps=50, guidance_scale=5.0, prompt_tokens=TOKENS)
    # The limits are whole TFLOPs, without the autoencoder.
    assert round(found.denoising / TERA) <= maximum
    reference = flops.reference_step_cost(config, prompt_tokens=TOKENS) * 49
    assert reference / TERA == pytest.approx(original, abs=1)


@pytest.mark.parametrize(("size", "billions"), [("1.5b", 2.83), ("7b", 8.93)])
def test_the_published_sizes_have_their_parameters(size: str, billions: float) -> None:
    assert flops.parameters(MODELS[size])["total"] / 1e9 == pytest.approx(billions, abs=0.005)


@pytest.mark.parametrize("policy", POLICIES)
def test_the_command_prints_json(policy: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cost.main(["--size", "tiny", "--acceleration", policy, "--num-inference-steps", "5", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    parts = found["generation"]["parts"]
    assert {"prefix", "features", "backbone", "head", "vae_decode"} <= set(parts)
    assert found["generation"]["total_with_vae"] == sum(parts.values())
    assert found["generation"]["total"] == sum(parts.values()) - parts["vae_decode"]
    assert found["reference"]["total"] == 4 * found["reference"]["evaluation"]
    assert found["policy"] == policy


def test_the_command_prints_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert cost.main(["--size", "tiny", "--num-inference-steps", "5"]) == 0
    assert "total without vae_decode" in capsys.readouterr().out
