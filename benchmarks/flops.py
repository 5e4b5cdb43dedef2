"""FLOPs of a whole picture and a whole answer, the engine's way and the original implementation's, by the formulas of
`flashu_core.acceleration.flops`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise

import torch

from benchmarks.random_weights import on_meta
from flashu_core.acceleration.flops import (
    final_layer_flops,
    head_flops,
    layer_flops,
    logits_flops,
    neurons_run,
    prefill_flops,
    prefix_flops,
    step_flops,
    time_flops,
    token_flops,
    vision_flops,
)
from flashu_core.acceleration.plan import StepPlan, make_answer_schedule, make_schedule
from flashu_core.acceleration.policies import GenerationPolicy, UnderstandingPolicy
from flashu_core.config import WAN_VAE, ModelConfig, VaeConfig
from flashu_core.model.showo2 import Showo2

# The published code pads every sequence to this length, longer ones to the next multiple of 128.
PADDED = 1024
PADDED_STEP = 128
ANSWER_TOKENS = 128  # token limit of an answer
SYSTEM_TOKENS = 16  # begin of sequence, the system's words, image_start


def parameters(config: ModelConfig) -> dict[str, int]:
    """Parameters of each part and in total; tied ones count once."""
    model = on_meta(lambda: Showo2(config), torch.bfloat16)
    parts = {
        name: sum(parameter.numel() for parameter in part.parameters())
        for name, part in (("backbone", model.backbone), ("vision", model.vision), ("head", model.head))
    }
    return {**parts, "total": sum(parameter.numel() for parameter in model.parameters())}


@dataclass(frozen=True, slots=True)
class GenerationCost:
    """FLOPs of generating images with the engine.

    Attributes:
        parts: `prefix`, and all steps' `features`, `backbone` and `head`.
        step: FLOPs of one denoising step for each distinct plan, in the order they first run.
        vae_decode: apart, for denoising is what the techniques change.
    """

    parts: Mapping[str, int]
    step: Mapping[StepPlan, int]
    vae_decode: int

    @property
    def denoising(self) -> int:
        """Everything but the autoencoder."""
        return sum(self.parts.values())


def generation_cost(
    config: ModelConfig,
    policy: GenerationPolicy,
    *,
    num_inference_steps: int,
    guidance_scale: float,
    prompt_tokens: int,
    images: int = 1,
) -> GenerationCost:
    """FLOPs of the engine for `images` images of one prompt on the model's default grid.

    Args:
        prompt_tokens: ids of the prompt in all, with begin of sequence and image_start; the unconditional one has two,
            read once in a process, and counts in full here.
    """
    schedule = make_schedule(policy.techniques, num_inference_steps=num_inference_steps, guidance_scale=guidance_scale)
    steps = {plan: step_flops(config, policy, plan, prompt_tokens=prompt_tokens) for plan in schedule.kinds}
    parts = {"prefix": prefix_flops(config, policy, schedule, prompt_tokens=prompt_tokens)}
    for plan, count in schedule.counts.items():
        for name, flops in steps[plan].items():
            parts[name] = parts.get(name, 0) + images * count * flops
    return GenerationCost(
        parts=parts,
        step={plan: images * sum(flops.values()) for plan, flops in steps.items()},
        vae_decode=images * vae_decode_flops(WAN_VAE, *latent_sides(config)),
    )


def latent_sides(config: ModelConfig) -> tuple[int, int]:
    """Height and width of the latents on the default grid."""
    rows, columns = config.grids[0]
    return rows * config.patch_size, columns * config.patch_size


def padded_length(config: ModelConfig, prompt_tokens: int) -> int:
    """Length to which the original pads a generation sequence."""
    rows, columns = config.grids[0]
    needed = prompt_tokens + rows * columns + config.block_extra + 2  # image_end and end of sequence
    return max(PADDED, -(-needed // PADDED_STEP) * PADDED_STEP)


def reference_step_cost(config: ModelConfig, *, prompt_tokens: int) -> int:
    """One denoising step the original's way: both branches whole, padded, picture embedded twice, logits for all."""
    length = padded_length(config, prompt_tokens)
    rows, columns = config.grids[0]
    backbone = config.backbone
    branch = (
        time_flops(config)
        + vision_flops(config)
        + backbone.layers * layer_flops(backbone, backbone.ffn_size, new=length, pairs=length**2)
        + logits_flops(config, length)
        + head_flops(config, new=length, seen=length, modulated=True)
        + final_layer_flops(config, rows * columns)
    )
    return 2 * branch


@dataclass(frozen=True, slots=True)
class AnswerCost:
    """FLOPs of answering a question about an image.

    Attributes:
        parts: `system` (once in an engine's life), `vae_encode`, `features`, `prefill`, `token` (one decoded token,
            the second).
        reference_token: one token the original's way, the whole sequence anew.
    """

    parts: Mapping[str, int] = field(default_factory=dict)
    reference_token: int = 0


def answer_cost(config: ModelConfig, policy: UnderstandingPolicy, *, question_tokens: int) -> AnswerCost:
    """FLOPs of an image and its question, and of each token after that.

    Args:
        question_tokens: ids after the picture in all, with image_end and the words that open the answer.
    """
    backbone = config.backbone
    rows, columns = config.grids[0]
    image = rows * columns
    schedule = make_answer_schedule(policy.techniques, tokens=ANSWER_TOKENS)
    first, second = schedule[0], schedule[1]
    causal_time = config.time_token and config.understanding_block == "image"
    system = SYSTEM_TOKENS + causal_time
    read = neurons_run(config, policy, first)
    length = system + image + question_tokens + (config.block_extra - causal_time)
    whole = SYSTEM_TOKENS + image + config.block_extra + question_tokens
    parts = {
        "vae_encode": vae_encode_flops(WAN_VAE, *latent_sides(config)),
        "system": backbone.layers * layer_flops(backbone, read, new=system, pairs=system**2)
        + causal_time * time_flops(config),
        "features": vision_flops(config),
        "prefill": prefill_flops(config, policy, first, system_tokens=system, question_tokens=question_tokens)
        + (config.block_extra - causal_time) * time_flops(config),
        "token": token_flops(config, policy, second, seen=length + 1, pruned=int(round(first.drop * image, 9))),
    }
    reference = backbone.layers * layer_flops(backbone, backbone.ffn_size, new=whole, pairs=whole**2)
    return AnswerCost(parts=parts, reference_token=reference + logits_flops(config, whole))


# The autoencoder: convolutions by their channels, at the size of their output.


def vae_decode_flops(config: VaeConfig, height: int, width: int) -> int:
    """FLOPs of decoding one picture whose latents have these sides."""
    pixels, channels = height * width, config.width * config.multipliers[-1]
    latent = config.latent_channels
    total = pixels * (_convolution(latent, latent, 1) + _convolution(latent, channels, 3)) + _middle(channels, pixels)
    levels = [config.width * multiplier for multiplier in reversed(config.multipliers)]
    for index, out in enumerate(levels):
        for _ in range(config.residual_blocks + 1):
            total += pixels * _residual(channels, out)
            channels = out
        if index < len(levels) - 1:
            pixels *= 4
            total += pixels * _convolution(channels, channels // 2, 3)
            channels //= 2
    return total + pixels * _convolution(channels, 3, 3)


def vae_encode_flops(config: VaeConfig, height: int, width: int) -> int:
    """FLOPs of encoding one picture whose latents have these sides."""
    pixels = height * width * config.compression**2
    widths = [config.width * multiplier for multiplier in (1, *config.multipliers)]
    total = pixels * _convolution(3, widths[0], 3)
    for index, (channels, out) in enumerate(pairwise(widths)):
        total += pixels * (_residual(channels, out) + (config.residual_blocks - 1) * _residual(out, out))
        if index < len(config.multipliers) - 1:
            pixels //= 4
            total += pixels * _convolution(out, out, 3)
    latent = 2 * config.latent_channels
    ending = _convolution(widths[-1], latent, 3) + _convolution(latent, latent, 1)
    return total + _middle(widths[-1], pixels) + pixels * ending


def _middle(channels: int, pixels: int) -> int:
    attention = pixels * (_convolution(channels, 3 * channels, 1) + _convolution(channels, channels, 1))
    return 2 * pixels * _residual(channels, channels) + attention + 4 * pixels * pixels * channels


def _residual(channels: int, out: int) -> int:
    shortcut = _convolution(channels, out, 1) if channels != out else 0
    return _convolution(channels, out, 3) + _convolution(out, out, 3) + shortcut


def _convolution(channels: int, out: int, side: int) -> int:
    """FLOPs of each output pixel."""
    return 2 * channels * out * side * side
