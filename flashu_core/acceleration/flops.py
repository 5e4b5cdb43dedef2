"""Predicts the arithmetic of a schedule from a model's sizes, before anything runs.

A multiplication and its addition count as two; matrix products, convolutions and attention are counted, single elements
are not. Knows sizes and plans only; what really ran is in a request's result.
"""

from __future__ import annotations

from dataclasses import dataclass

from flashu_core.acceleration.plan import Schedule, StepPlan
from flashu_core.acceleration.policies import GenerationPolicy, kept_count
from flashu_core.config import ModelConfig

UNCOND_TOKENS = 2  # begin of sequence, image_start
TIME_FREQUENCIES = 256


@dataclass(frozen=True, slots=True)
class Forecast:
    """One denoising step: what it runs, and its FLOPs for one picture (without reading the prompt)."""

    index: int
    guidance_scale: float
    backbone: str
    layers: str
    head: str
    flops: int


def describe(
    config: ModelConfig, policy: GenerationPolicy, schedule: Schedule, *, prompt_tokens: int
) -> list[Forecast]:
    """A line for each step of a picture on the model's default grid.

    Args:
        config: the model's sizes.
        policy: whose shares of neurons and layers are pruned and skipped.
        schedule: its plans.
        prompt_tokens: ids of the prompt in all, with the two around the text.
    """
    lines = []
    skipped = int(round(policy.skip_ratio * config.backbone.layers, 9))
    for index, plan in enumerate(schedule, start=1):
        layers = config.backbone.layers - (skipped if plan.layers == "measured" else 0)
        shown = f"{layers}" + (", measured" if plan.measure else "")
        lines.append(
            Forecast(
                index=index,
                guidance_scale=plan.guidance_scale,
                backbone=plan.ffn if plan.run_backbone else "not needed",
                layers=shown if plan.run_backbone else "",
                head="computed" if plan.head == "compute" else "reused",
                flops=step_flops(config, policy, plan, layers=layers, prompt_tokens=prompt_tokens),
            )
        )
    return lines


def step_flops(
    config: ModelConfig, policy: GenerationPolicy, plan: StepPlan, *, layers: int, prompt_tokens: int
) -> int:
    """FLOPs of one step that runs so many of the backbone's layers."""
    rows, columns = config.grids[0]
    image, block = rows * columns, rows * columns + config.block_extra
    backbone, head = config.backbone, config.head
    running = [prompt_tokens] * plan.run_cond + [UNCOND_TOKENS] * plan.run_uncond
    reading = plan.reads_cond + plan.reads_uncond
    width, inner = backbone.hidden_size, head.hidden_size
    total = 2 * (TIME_FREQUENCIES * inner + inner * inner + (inner * width if inner != width else 0))
    if plan.run_backbone:
        total += _vision(config, image)
        neurons = kept_count(backbone.ffn_size, policy.ffn_ratio) if plan.ffn == "pruned" else backbone.ffn_size
        for prefix in running:
            total += layers * _decoder(
                width, backbone.heads, backbone.key_value_heads, neurons, new=block, seen=prefix + block
            )
    if plan.head == "compute":
        for prefix in running:
            if inner != width:
                total += 2 * block * (width * inner + inner * inner)
            layer = _decoder(inner, head.heads, head.key_value_heads, head.ffn_size, new=block, seen=prefix + block)
            total += head.blocks * (layer + 2 * inner * 6 * inner)
    return total + reading * 2 * (inner * 2 * inner + image * inner * config.patch_values)


def _decoder(width: int, heads: int, shared: int, neurons: int, *, new: int, seen: int) -> int:
    """One layer on `new` tokens that attend to `seen`."""
    projections = 2 * width * width + 2 * width * shared * (width // heads)
    return 2 * new * (projections + 3 * width * neurons) + 4 * new * seen * width


def _vision(config: ModelConfig, image: int) -> int:
    """Semantic layers, both embedders and the fusion, once for all branches."""
    vision, width = config.vision, config.backbone.hidden_size
    own = vision.hidden_size
    layer = 2 * image * (4 * own * own + 2 * own * vision.ffn_size) + 4 * image * image * own
    embedders = 2 * image * config.patch_values * (own + width)
    return vision.layers * layer + embedders + 2 * image * ((own + width) * width + width * width)
