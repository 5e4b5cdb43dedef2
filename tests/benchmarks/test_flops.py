"""The formulas of whole pictures and answers: what torch's counter finds, and within the limits on the published
sizes."""

from __future__ import annotations

from dataclasses import replace

import flop_counter
import pytest
import torch

from benchmarks import flops
from flashu_core.acceleration.flops import UNCOND_TOKENS
from flashu_core.acceleration.plan import StepPlan
from flashu_core.acceleration.policies import POLICIES, GenerationPolicy, UnderstandingPolicy
from flashu_core.config import MODELS, WAN_VAE, ModelConfig

TERA = 1e12
TOKENS = 64
EXACT = GenerationPolicy()
TINY = MODELS["tiny"]
MODELS_READ = {
    "image block": TINY,
    "time block": replace(TINY, understanding_block="time"),
    "no time token": replace(TINY, time_token=False),
    "neither": replace(TINY, time_token=False, understanding_block="time"),
}


def cost(config: ModelConfig, policy: GenerationPolicy = EXACT, **changes: float) -> flops.GenerationCost:
    settings = {"num_inference_steps": 50, "guidance_scale": 5.0, "prompt_tokens": TOKENS, **changes}
    return flops.generation_cost(config, policy, **settings)  # type: ignore[arg-type]


def test_pictures_cost_what_is_counted() -> None:
    policy = POLICIES["flashu"].generate
    found = cost(TINY, policy, num_inference_steps=8, images=2)
    counted = flop_counter.generation_cost(
        TINY, policy, num_inference_steps=8, guidance_scale=5.0, prompt_tokens=TOKENS, images=2
    )
    assert {**found.parts, "guidance": 0} == counted


@pytest.mark.parametrize(
    ("model", "policy", "tokens"),
    [
        *((model, POLICIES["flashu"].vqa, 20) for model in MODELS_READ),
        ("image block", UnderstandingPolicy(), 3),
        ("image block", UnderstandingPolicy(ffn_ratio=0.2), 20),
        ("image block", UnderstandingPolicy(skip_ratio=0.5), 20),
        ("time block", UnderstandingPolicy(token_ratio=0.5, token_layer=1), 20),
    ],
    ids=str,
)
def test_an_answer_costs_what_is_counted(model: str, policy: UnderstandingPolicy, tokens: int) -> None:
    found = flops.answer_cost(MODELS_READ[model], policy, question_tokens=tokens)
    counted = flop_counter.answer_cost(MODELS_READ[model], policy, question_tokens=tokens)
    parts = {name: value for name, value in found.parts.items() if name != "vae_encode"}
    assert {**parts, "reference_token": found.reference_token} == counted


def test_the_original_costs_what_is_counted() -> None:
    for tokens in (TOKENS, 1000):  # padded to 1024, and beyond
        counted = flop_counter.reference_step_cost(TINY, prompt_tokens=tokens)
        assert flops.reference_step_cost(TINY, prompt_tokens=tokens) == counted


def test_the_autoencoder_costs_what_is_counted() -> None:
    decoded = flop_counter.vae_decode_cost(TINY)
    assert flops.vae_decode_flops(WAN_VAE, *flops.latent_sides(TINY)) == decoded == cost(TINY).vae_decode
    assert flops.vae_encode_flops(WAN_VAE, *flops.latent_sides(TINY)) == flop_counter.vae_encode_cost(TINY)


def test_plans_are_listed_as_they_first_run() -> None:
    assert list(cost(TINY).step) == [StepPlan(5.0)]
    assert sum(cost(TINY).step.values()) * 49 + cost(TINY).parts["prefix"] == cost(TINY).denoising


def test_a_branch_that_is_not_read_is_not_computed() -> None:
    both, cond = (cost(TINY, guidance_scale=scale, prompt_tokens=UNCOND_TOKENS) for scale in (5.0, 1.0))
    assert both.parts["backbone"] == 2 * cond.parts["backbone"]
    assert both.parts["features"] == cond.parts["features"]


def test_counting_counts_its_block_only() -> None:
    left, right = torch.empty(3, 5, device="meta"), torch.empty(5, 7, device="meta")
    assert flop_counter.count(lambda: left @ right) == 2 * 3 * 5 * 7
    assert flop_counter.count(lambda: left + left) == 0


@pytest.mark.parametrize(("size", "maximum", "original"), [("1.5b", 325, 523), ("7b", 1083, 1660)])
def test_the_published_sizes_stay_within_their_limits(size: str, maximum: int, original: int) -> None:
    # The limits are whole TFLOPs, without the autoencoder.
    assert round(cost(MODELS[size]).denoising / TERA) <= maximum
    reference = flops.reference_step_cost(MODELS[size], prompt_tokens=TOKENS) * 49
    assert reference / TERA == pytest.approx(original, abs=1)


@pytest.mark.parametrize(("size", "billions"), [("1.5b", 2.83), ("7b", 8.93)])
def test_the_published_sizes_have_their_parameters(size: str, billions: float) -> None:
    assert flops.parameters(MODELS[size])["total"] / 1e9 == pytest.approx(billions, abs=0.005)
