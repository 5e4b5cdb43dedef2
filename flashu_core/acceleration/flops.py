"""Predicts the arithmetic of both tasks from a model's sizes and plans, before anything runs.

A multiply-add counts as two FLOPs. Matrix products, convolutions and attention are counted; norms, activations and
other elementwise operations are not. Tests compare every formula with torch's counter over the real modules.
"""

from __future__ import annotations

from dataclasses import dataclass

from flashu_core.acceleration.plan import Schedule, StepPlan
from flashu_core.acceleration.policies import GenerationPolicy, SharedPolicy, UnderstandingPolicy, kept_count
from flashu_core.config import BackboneConfig, HeadConfig, ModelConfig

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
    for index, plan in enumerate(schedule, start=1):
        layers = layers_run(config, policy, plan)
        shown = f"{layers}" + (", measured" if plan.measure else "")
        parts = step_flops(config, policy, plan, prompt_tokens=prompt_tokens)
        lines.append(
            Forecast(
                index=index,
                guidance_scale=plan.guidance_scale,
                backbone=plan.ffn if plan.run_backbone else "not needed",
                layers=shown if plan.run_backbone else "",
                head="computed" if plan.head == "compute" else "reused",
                flops=sum(parts.values()),
            )
        )
    return lines


def layers_run(config: ModelConfig, policy: SharedPolicy, plan: StepPlan) -> int:
    """Backbone layers that a step or a token runs."""
    skipped = int(round(policy.skip_ratio * config.backbone.layers, 9)) if plan.layers == "measured" else 0
    return config.backbone.layers - skipped


def neurons_run(config: ModelConfig, policy: SharedPolicy, plan: StepPlan) -> int:
    """FFN neurons of each layer that a step or a token runs."""
    neurons = config.backbone.ffn_size
    return kept_count(neurons, policy.ffn_ratio) if plan.ffn == "pruned" else neurons


def step_flops(config: ModelConfig, policy: GenerationPolicy, plan: StepPlan, *, prompt_tokens: int) -> dict[str, int]:
    """FLOPs of one step of one picture: `features`, `backbone`, and `head` with the velocities."""
    rows, columns = config.grids[0]
    image, block = rows * columns, rows * columns + config.block_extra
    running = [prompt_tokens] * plan.run_cond + [UNCOND_TOKENS] * plan.run_uncond
    parts = {"features": time_flops(config), "backbone": 0, "head": 0}
    if plan.run_backbone:
        parts["features"] += vision_flops(config)
        layers, neurons = layers_run(config, policy, plan), neurons_run(config, policy, plan)
        parts["backbone"] = sum(
            layers * layer_flops(config.backbone, neurons, new=block, pairs=block * (prefix + block))
            for prefix in running
        )
    if plan.head == "compute":
        parts["head"] = sum(head_flops(config, new=block, seen=prefix + block, modulated=True) for prefix in running)
    reading = plan.reads_cond + plan.reads_uncond
    parts["head"] += reading * final_layer_flops(config, image)
    return parts


def prefix_flops(config: ModelConfig, policy: GenerationPolicy, schedule: Schedule, *, prompt_tokens: int) -> int:
    """FLOPs of reading both prompts through backbone and head, once for each set of neurons and layers they run on.

    Counts one set of skipped layers; a request that measures several times reads its prompts on each new set.
    """
    total = 0
    for tokens, is_cond in ((prompt_tokens, True), (UNCOND_TOKENS, False)):
        first = schedule[0]
        ways = {(neurons_run(config, policy, first), config.backbone.layers)}
        for plan in schedule.kinds:
            if plan.run_backbone and (plan.run_cond if is_cond else plan.run_uncond):
                ways.add((neurons_run(config, policy, plan), layers_run(config, policy, plan)))
        total += sum(
            layers * layer_flops(config.backbone, neurons, new=tokens, pairs=tokens * tokens)
            + head_flops(config, new=tokens, seen=tokens, modulated=False)
            for neurons, layers in ways
        )
    return total


def prefill_flops(
    config: ModelConfig, policy: UnderstandingPolicy, plan: StepPlan, *, system_tokens: int, question_tokens: int
) -> int:
    """FLOPs of reading a picture's tokens and its question behind the system prompt, with the first token's logits.

    Args:
        plan: of the first token.
        system_tokens: positions before the pass, with the time token where the model puts it there.
        question_tokens: ids after the picture.
    """
    rows, columns = config.grids[0]
    image, is_timed = rows * columns, config.understanding_block == "time"
    # Full attention reaches from the time token to the picture's end, or from the picture to the token behind it.
    block = image + (config.block_extra if is_timed else 1)
    length = image + question_tokens + (config.block_extra if is_timed else 0)
    neurons, last = neurons_run(config, policy, plan), config.backbone.layers - 1
    total = 0
    for layer in range(config.backbone.layers):
        gone = int(round(plan.drop * image, 9)) if layer >= plan.drop_layer else 0
        new, full, seen = length - gone, block - gone, system_tokens + length - gone
        if layer == last:
            total += layer_flops(config.backbone, neurons, new=new, read=1, pairs=seen)
        else:
            pairs = full * (system_tokens + full) + (new - full) * seen
            total += layer_flops(config.backbone, neurons, new=new, pairs=pairs)
    return total + logits_flops(config, 1)


def token_flops(config: ModelConfig, policy: UnderstandingPolicy, plan: StepPlan, *, seen: int, pruned: int = 0) -> int:
    """FLOPs of decoding one token that attends to `seen` positions, itself among them.

    Args:
        pruned: visual tokens that the layers behind `policy.token_layer` lack.
    """
    neurons, layers = neurons_run(config, policy, plan), layers_run(config, policy, plan)
    # The most similar layers are not known here; the first ones stand for them, as in the tests' counter.
    skipped = config.backbone.layers - layers
    return logits_flops(config, 1) + sum(
        layer_flops(config.backbone, neurons, new=1, pairs=seen - (pruned if layer >= policy.token_layer else 0))
        for layer in range(skipped, config.backbone.layers)
    )


def time_flops(config: ModelConfig) -> int:
    """FLOPs of one time embedding and its token."""
    inner, width = config.head.hidden_size, config.backbone.hidden_size
    return 2 * (TIME_FREQUENCIES * inner + inner * inner + (inner * width if inner != width else 0))


def vision_flops(config: ModelConfig) -> int:
    """FLOPs of one picture's features: semantic layers, both embedders and the fusion."""
    rows, columns = config.grids[0]
    image, vision, width = rows * columns, config.vision, config.backbone.hidden_size
    own = vision.hidden_size
    layer = 2 * image * (4 * own * own + 2 * own * vision.ffn_size) + 4 * image * image * own
    embedders = 2 * image * config.patch_values * (own + width)
    return vision.layers * layer + embedders + 2 * image * ((own + width) * width + width * width)


def layer_flops(
    config: BackboneConfig | HeadConfig, neurons: int, *, new: int, pairs: int, read: int | None = None
) -> int:
    """FLOPs of one decoder layer on `new` tokens.

    Args:
        pairs: of queries and keys; a causal pass counts the masked ones too, which torch's kernels may skip.
        read: tokens at the end that have an output; None: all have.
    """
    width, read = config.hidden_size, new if read is None else read
    shared = config.key_value_heads * (width // config.heads)
    outputs = 2 * read * (2 * width * width + 3 * width * neurons) + 4 * pairs * width
    return outputs + 2 * new * 2 * width * shared


def head_flops(config: ModelConfig, *, new: int, seen: int, modulated: bool) -> int:
    """FLOPs of the head's blocks on `new` tokens of one branch of one picture, without the final layer."""
    head, width = config.head, config.backbone.hidden_size
    inner = head.hidden_size
    projection = 2 * new * (width * inner + inner * inner) if inner != width else 0
    block = layer_flops(head, head.ffn_size, new=new, pairs=new * seen) + (2 * inner * 6 * inner if modulated else 0)
    return projection + head.blocks * block


def final_layer_flops(config: ModelConfig, tokens: int) -> int:
    """FLOPs of the velocities of so many image tokens of one branch of one picture."""
    inner = config.head.hidden_size
    return 2 * (inner * 2 * inner + tokens * inner * config.patch_values)


def logits_flops(config: ModelConfig, positions: int) -> int:
    """FLOPs of the language head."""
    return 2 * positions * config.backbone.hidden_size * config.backbone.vocabulary
