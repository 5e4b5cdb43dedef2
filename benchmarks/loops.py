"""Generation and answering as the engine and as the original run them, for the speed benchmarks.

Both take the same random model, ids and noise and give the same result up to rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from benchmarks.flops import SYSTEM_TOKENS
from flashu_core.acceleration.flops import UNCOND_TOKENS
from flashu_core.acceleration.neurons import NeuronPath
from flashu_core.acceleration.plan import make_answer_schedule, make_schedule
from flashu_core.acceleration.policies import GenerationPolicy, UnderstandingPolicy, kept_count
from flashu_core.config import ModelConfig
from flashu_core.model import reference, sampler
from flashu_core.model.showo2 import Showo2
from flashu_core.pathways import generate, understand
from flashu_core.timing import Spans


@dataclass(frozen=True, slots=True, eq=False)
class GenerateSequence:
    """A picture to draw: ids of `bos text image_start`, noise on the model's device, grid and guidance."""

    cond: Sequence[int]
    uncond: Sequence[int]
    noise: Tensor
    num_inference_steps: int
    guidance_scale: float


def example_ids(model: Showo2, count: int, seed: int) -> list[int]:
    """Random token ids."""
    generator = torch.Generator().manual_seed(seed)
    ids: list[int] = torch.randint(model.config.backbone.vocabulary, (count,), generator=generator).tolist()
    return ids


def pruned_path(config: ModelConfig, ratio: float) -> NeuronPath:
    """A path of as many neurons as a calibration would keep."""
    count = kept_count(config.backbone.ffn_size, ratio)
    return NeuronPath(f"pruned {ratio:g}", [slice(0, count)] * config.backbone.layers)


def latent_shape(config: ModelConfig, images: int) -> tuple[int, int, int, int]:
    """Shape of the latents of images on the default grid."""
    rows, columns = config.grids[0]
    return images, config.latent_channels, rows * config.patch_size, columns * config.patch_size


def example_generation(
    model: Showo2, *, prompt_tokens: int, num_inference_steps: int, guidance_scale: float, images: int = 1
) -> GenerateSequence:
    """A generation from a prompt with that many ids in all."""
    shape = latent_shape(model.config, images)
    return GenerateSequence(
        cond=example_ids(model, prompt_tokens, 1),
        uncond=example_ids(model, UNCOND_TOKENS, 2),
        noise=sampler.noise(3, shape).to(model.device),
        num_inference_steps=num_inference_steps,
        guidance_scale=guidance_scale,
    )


def policy_steps(policy: GenerationPolicy, num_inference_steps: int) -> int:
    """Points of a policy's own grid where the original's has `num_inference_steps`."""
    return max(round(num_inference_steps * policy.points), 2)


def run_pathway(
    model: Showo2, generation: GenerateSequence, policy: GenerationPolicy, prefix: Spans
) -> generate.Generation:
    """The engine: prompts once, then image blocks only. `prefix` measures the prompts; steps have their spans.

    Neurons are random like everything else, so a pruned path takes as many as a calibration would keep.
    """
    num_inference_steps = policy_steps(policy, generation.num_inference_steps)
    with prefix.span("prefix"):
        cond, uncond = generate.Prompt(generation.cond), generate.Prompt(generation.uncond)
        state = generate.begin(
            model,
            cond=cond,
            uncond=uncond,
            noise=generation.noise,
            schedule=make_schedule(
                policy.techniques, num_inference_steps=num_inference_steps, guidance_scale=generation.guidance_scale
            ),
            times=sampler.time_grid(num_inference_steps, model.config.time_shift),
            pruned=pruned_path(model.config, policy.ffn_ratio),
        )
    while not state.done:
        generate.advance(model, [state], Spans(model.device))
    return state


@torch.inference_mode()
def generate_original(model: Showo2, generation: GenerateSequence, *, padded: int) -> Tensor:
    """The original: in every denoising step both sequences whole and padded, and the logits of every position."""
    images = generation.noise.shape[0]
    rows = [list(generation.cond)] * images + [list(generation.uncond)] * images
    ids = torch.tensor([row + [0] * (padded - len(row)) for row in rows], device=model.device)
    offsets = [len(row) for row in rows]
    times = sampler.time_grid(generation.num_inference_steps, model.config.time_shift).tolist()
    latents = generation.noise.float()
    for start, end in pairwise(times):
        both = torch.cat([latents, latents])
        now = torch.full((2 * images,), start, device=model.device)
        cond, uncond = reference.velocities(model, ids, offsets, both, now, with_logits=True).chunk(2)
        latents = sampler.euler(latents, sampler.guide(cond, uncond, generation.guidance_scale), start, end)
    return latents


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """An image's latents and the ids before and after it."""

    before: Sequence[int]
    latents: Tensor
    after: Sequence[int]


def example_question(model: Showo2, *, question_tokens: int) -> Question:
    """A question with that many ids after the image."""
    return Question(
        before=example_ids(model, SYSTEM_TOKENS, 4),
        latents=sampler.noise(5, latent_shape(model.config, 1)).to(model.device),
        after=example_ids(model, question_tokens, 6),
    )


def read_system(model: Showo2, question: Question) -> understand.System:
    """The system prompt before the image, which an engine reads once."""
    system = understand.System(question.before)
    system.read(model)
    return system


def begin_answer(
    model: Showo2,
    question: Question,
    system: understand.System,
    policy: UnderstandingPolicy,
    *,
    tokens: int,
    spans: Spans,
) -> understand.Understanding:
    """The engine's prefill and first token, of an answer of `tokens` tokens."""
    return understand.begin(
        model,
        system=system,
        latents=question.latents,
        suffix=question.after,
        decoding=understand.Decoding(eos=-1, max_new_tokens=tokens),
        generator=torch.Generator(),
        spans=spans,
        schedule=make_answer_schedule(policy.techniques, tokens=tokens),
        pruned=pruned_path(model.config, policy.ffn_ratio),
    )


def answer(
    model: Showo2,
    question: Question,
    policy: UnderstandingPolicy,
    *,
    tokens: int,
    system: understand.System | None = None,
    budget: int | None = None,
) -> list[int]:
    """The engine: system prompt, prefill, then one token at a time from the cache.

    Args:
        model, question, policy: the model, the question and the policy.
        tokens: length of the answer.
        system: the system prompt, if it was read before.
        budget: token limit from which the schedule is made; `tokens` by default.
    """
    spans = Spans(model.device)
    system = system or read_system(model, question)
    state = begin_answer(model, question, system, policy, tokens=budget or tokens, spans=spans)
    while len(state.tokens) < tokens:
        understand.advance(model, [state], spans)
    return state.tokens


@torch.inference_mode()
def answer_original(model: Showo2, question: Question, *, tokens: int) -> list[int]:
    """The original: the whole sequence again for each token, with logits of all positions; the image is embedded
    once."""
    config = model.config
    _, time = model.time_tokens(torch.ones(1, device=model.device))
    block = model.image_block(model.vision(question.latents), time)
    before = model.embed(question.before)
    start = before.shape[1] + (config.block_extra if config.understanding_block == "image" else 0)
    # At "image" the block is as long as at "time" and so takes in the token after the picture.
    size = block.shape[1] if config.time_token or config.understanding_block == "time" else block.shape[1] + 1
    sequence = torch.cat([before, block, model.embed(question.after)], dim=1)
    generated: list[int] = []
    for _ in range(tokens):
        generated.append(int(reference.answer_logits(model, sequence, (start, size))[0, -1].argmax()))
        sequence = torch.cat([sequence, model.embed(generated[-1:])], dim=1)
    return generated
