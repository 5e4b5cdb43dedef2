"""Sampling as pure functions: the time grid, guidance, the Euler step, and the next token."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def time_grid(num_inference_steps: int, shift: float) -> Tensor:
    """Times from 0 (noise) to 1 (data), (num_inference_steps,) in float32; a larger shift puts more of them near
    noise."""
    uniform = torch.linspace(0, 1, num_inference_steps)
    return uniform / (uniform + shift - shift * uniform)


def noise(seed: int, shape: tuple[int, ...]) -> Tensor:
    """Standard normal noise, sampled on the CPU so that a seed gives the same noise on every device."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def guide(cond: Tensor, uncond: Tensor, guidance_scale: float) -> Tensor:
    """Classifier-free guidance: `uncond + guidance_scale * (cond - uncond)`."""
    return torch.lerp(uncond, cond, guidance_scale)


def euler(latents: Tensor, velocity: Tensor, start: float, end: float) -> Tensor:
    """One Euler step: latents at time `end` from those at time `start`, with a constant velocity."""
    return latents + velocity * (end - start)


def likeliest(logits: Tensor) -> list[tuple[int, float]]:
    """The likeliest token and its logit, for each row of logits (R, vocabulary); the logit is NaN where any is. One
    transfer from the device for all rows."""
    best = logits.argmax(dim=-1, keepdim=True)  # the index of a NaN, where there is one
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
    """Samples the next token from one row of logits (vocabulary,).

    Args:
        logits: the model's, before temperature.
        best: this row of `likeliest`, where it is known.
        temperature: 0 is greedy.
        top_p: samples from the smallest set of likeliest tokens whose probabilities sum to at least this.
        generator: on the CPU.

    Raises:
        FloatingPointError: a logit is NaN, or the largest is infinite.
    """
    token, top = likeliest(logits[None])[0] if best is None else best
    if not math.isfinite(top):
        raise FloatingPointError(f"the logit of token {token} is {top}")
    if temperature == 0.0:
        return token
    # In float64 and relative to the largest logit: float32 would round a tiny temperature to zero.
    probabilities = torch.softmax((logits.double().cpu() - top) / temperature, dim=-1).float()
    ordered, order = probabilities.sort(descending=True)
    # A token is kept while those before it sum to less than top_p; the likeliest is always kept.
    beyond = ordered.cumsum(0) - ordered >= top_p
    beyond[0] = False
    return int(order[torch.multinomial(ordered.masked_fill(beyond, 0.0), 1, generator=generator)])


def log_probabilities(logits: Tensor, token: int, count: int) -> tuple[float, list[tuple[int, float]]]:
    """The log probability of a token, and the `count` likeliest tokens with theirs, the likeliest first.

    Args:
        logits: (vocabulary,), before temperature.
    """
    logarithms = torch.log_softmax(logits.float(), dim=-1)
    values, ids = logarithms.topk(min(count, len(logarithms)))
    likeliest = zip(ids.tolist(), values.tolist(), strict=True)
    return float(logarithms[token]), [(int(one), float(value)) for one, value in likeliest]
