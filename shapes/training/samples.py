"""Sheets of pictures drawn by a model in training, from prompts that stay the same through the run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from flashu_core.acceleration.plan import make_schedule
from flashu_core.images.tensors import to_pixels
from flashu_core.model.sampler import noise, time_grid
from flashu_core.model.showo2 import Showo2
from flashu_core.model.vae import Vae
from flashu_core.pathways import generate
from flashu_core.text.prompt import generation_prefix
from flashu_core.text.tokenizer import Tokenizer
from flashu_core.timing import Spans
from shapes.training.report import sheet

PROMPTS = (
    *("a red circle", "a cat", "a large blue house in the snow", "a sun at the top", "a yellow boat at sea"),
    *("a red circle and a blue square", "a cat and a tree in a meadow", "a moon above a house at night"),
    *("a bird on a house", "a black cat under a red umbrella", "a green car left of a pink flower"),
    *("three red apples", "two yellow triangles and a blue square", "five stars at night"),
    *("a ball between a cup and a mushroom", "a purple fish below a white cloud"),
)


def draw_samples(
    model: Showo2,
    vae: Vae,
    tokenizer: Tokenizer,
    path: Path,
    *,
    prompts: Sequence[str] = PROMPTS,
    num_inference_steps: int = 25,
    guidance_scale: float = 1.5,
) -> None:
    """Draws each prompt once and writes the sheet."""
    config = model.config
    schedule, times = (
        make_schedule((), num_inference_steps=num_inference_steps, guidance_scale=guidance_scale),
        time_grid(num_inference_steps, config.time_shift),
    )
    rows, columns = config.grids[0]
    shape = (1, config.latent_channels, rows * config.patch_size, columns * config.patch_size)
    uncond = generate.Prompt(generation_prefix(tokenizer, "", limit=100))
    batch = [
        generate.begin(
            model,
            cond=generate.Prompt(generation_prefix(tokenizer, prompt, limit=100)),
            uncond=uncond,
            noise=noise(seed, shape),
            schedule=schedule,
            times=times,
        )
        for seed, prompt in enumerate(prompts)
    ]
    while not batch[0].done:
        generate.advance(model, batch, Spans(model.device))
    with torch.inference_mode():
        images = to_pixels(vae.decode(torch.cat([generation.latents for generation in batch])))
    sheet(images, prompts, path)
