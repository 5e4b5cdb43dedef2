"""Sampling as pure functions: the time grid, guidance, the Euler step, and drawing a token."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def time_grid(num_inference_steps: int, shift: float) -> Tensor:
    """Times from 0 (noise) to 1 (data), (points,) in float32, denser near noise the larger the shift."""
    uniform = torch.linspace(0, 1, num_inference_steps)
    return uniform / (uniform + shift - shift * uniform)


def noise(seed: int, shape: tuple[int, ...]) -> Tensor:
    """Standard normal noise, drawn on the CPU so that a seed means the same on every device."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def guide(text: Tensor, uncond: Tensor, guidance_scale: float) -> Tensor:
    """Classifier-free guidance: from the unconditional velocity towards the text's, and beyond."""
    return torch.lerp(uncond, text, guidance_scale)


def euler(latents: Tensor, velocity: Tensor, start: float, end: float) -> Tensor:
    """Latents at time `end` from those at `start` along a constant velocity."""
    return latents + velocity * (end - start)


def likeliest(logits: Tensor) -> list[tuple[int, float]]:
    """For each row of logits (R, vocabulary) its best token and that one's score, which is a NaN where any is. One
    transfer from the device for all rows."""
    best = logits.argmax(dim=-1, keepdim=True)  # that of a NaN, where there is one
    found = torch.cat([best.double(), logits.gather(-1, best).double()], dim=-1).tolist()
    return [(int(token), score) for token, score in found]


def sample_token(
    logits: Tensor,
    *,
    temperature: float,
    top_p: float,
    generator: torch.Generator,
    best: tuple[int, float] | None = None,
) -> int:
    """The next token of one row of logits (vocabulary,).

    Args:
        logits: scores.
        best: this row of `likeliest`, where it is known.
        temperature: 0 takes the likeliest.
        top_p: the likeliest tokens that together have this much probability are drawn from.
        generator: on the CPU.

    Raises:
        FloatingPointError: a score is no number, or the largest is infinite.
    """
    token, top = likeliest(logits[None])[0] if best is None else best
    if not math.isfinite(top):
        raise FloatingPointError(f"the score of token {token} is {top}")
    if temperature == 0.0:
        return token
    # In float64 and from the largest score down, for a tiny temperature divides by what float32 takes for zero.
    probabilities = torch.softmax((logits.double().cpu() - top) / temperature, dim=-1).float()
    ordered, order = probabilities.sort(descending=True)
    # A token is kept while those before it hold less than top_p; the likeliest always is, however small that may be.
    beyond = ordered.cumsum(0) - ordered >= top_p
    beyond[0] = False
    return int(order[torch.multinomial(ordered.masked_fill(beyond, 0.0), 1, generator=generator)])


def log_probabilities(logits: Tensor, token: int, count: int) -> tuple[float, list[tuple[int, float]]]:
    """The log probability of a token, and the `count` likeliest tokens with theirs, the likeliest first.

    Args:
        logits: scores (vocabulary,), as the model gives them.
    """
    logarithms = torch.log_softmax(logits.float(), dim=-1)
    values, ids = logarithms.topk(min(count, len(logarithms)))
    likeliest = zip(ids.tolist(), values.tolist(), strict=True)
    return float(logarithms[token]), [(int(one), float(value)) for one, value in likeliest]
