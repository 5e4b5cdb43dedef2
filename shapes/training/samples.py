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
    *("a red circle", "a small blue square", "a large green triangle", "a yellow circle on a black background"),
    *("a red circle and a blue square", "a green triangle and a purple circle", "a cyan square and a red triangle"),
    *("a red circle left of a blue square", "a large red circle left of a small blue square"),
    *("a yellow triangle above a green square", "two red circles", "three green triangles"),
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
