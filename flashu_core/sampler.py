"""Sampling as pure functions: the time grid, guidance, the Euler step, and drawing a token."""

from __future__ import annotations

import torch
from torch import Tensor


def time_grid(points: int, shift: float) -> Tensor:
    """Times from 0 (noise) to 1 (data), (points,) in float32, denser near noise the larger the shift."""
    uniform = torch.linspace(0, 1, points)
    return uniform / (uniform + shift - shift * uniform)


def noise(seed: int, shape: tuple[int, ...]) -> Tensor:
    """Standard normal noise, drawn on the CPU so that a seed means the same on every device."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def guide(text: Tensor, null: Tensor, guidance: float) -> Tensor:
    """Classifier-free guidance: from the null velocity towards the text's, and beyond."""
    return torch.lerp(null, text, guidance)


def euler(latents: Tensor, velocity: Tensor, start: float, end: float) -> Tensor:
    """Latents at time `end` from those at `start` along a constant velocity."""
    return latents + velocity * (end - start)


def draw_token(logits: Tensor, *, temperature: float, top_p: float, generator: torch.Generator) -> int:
    """The next token of one row of logits (vocabulary,).

    Args:
        logits: scores.
        temperature: 0 takes the likeliest.
        top_p: the likeliest tokens that together have this much probability are drawn from.
        generator: on the CPU.
    """
    if temperature == 0.0:
        return int(logits.argmax())
    probabilities = torch.softmax(logits.float().cpu() / temperature, dim=-1)
    ordered, order = probabilities.sort(descending=True)
    # A token is kept while those before it hold less than top_p, so the likeliest always is.
    ordered = ordered.masked_fill(ordered.cumsum(0) - ordered >= top_p, 0.0)
    return int(order[torch.multinomial(ordered, 1, generator=generator)])
