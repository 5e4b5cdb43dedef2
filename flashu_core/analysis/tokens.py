"""Importance of image tokens in understanding: the attention they receive in shallow layers against the L2 norm of
their value vectors (arXiv 2603.15271, section 3.5.1, figure 5).

Attention probabilities are computed here from a layer's projections and the cache it wrote: the engine's kernels never
materialise them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from flashu_core.analysis.passes import LayerPass, watch_layers
from flashu_core.model.attention import rotate
from flashu_core.model.showo2 import Showo2

SHALLOW = 4  # number of layers, from the first


@dataclass(frozen=True, slots=True, eq=False)
class Received:
    """One layer's image tokens in the prefill of one picture, (N,) float32 on the CPU each.

    Attributes:
        norms: L2 norm of the value vectors over all heads, by which the engine ranks them.
        attention: attention probability received, the mean over heads and over all tokens of picture and question.
        from_text: the mean over the question's tokens only.
    """

    norms: Tensor
    attention: Tensor
    from_text: Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenLayer:
    """One layer's image tokens over several pictures.

    Attributes:
        layer: counted from 1.
        correlation, correlation_from_text: Spearman's rank correlation of norm and attention, the mean over pictures;
            None where it is undefined.
        norms, attention, from_text: for each picture, for each of its tokens.
    """

    layer: int
    correlation: float | None
    correlation_from_text: float | None
    norms: Sequence[Sequence[float]]
    attention: Sequence[Sequence[float]]
    from_text: Sequence[Sequence[float]]


def attention_probabilities(query: Tensor, keys: Tensor, *, block: int) -> Tensor:
    """Attention probabilities of the query heads that share a key-value head.

    Args:
        query: (G, L, D), the last L positions, with rotary positions applied.
        keys: (S, D), own positions included.
        block: the first `block` of the L positions attend to each other fully; those after them are causal.

    Returns:
        (G, L, S) float32; each row sums to 1.
    """
    length, total = query.shape[1], keys.shape[0]
    before = total - length
    seen = torch.ones(length, total, dtype=torch.bool, device=query.device).tril(before)
    seen[:block, : before + block] = True
    scores = query.float() @ keys.float().T / math.sqrt(keys.shape[1])
    return scores.masked_fill(~seen, -torch.inf).softmax(dim=-1)


def received(seen: LayerPass, images: slice) -> Received:
    """Norms and attention of a prefill's image tokens in one layer.

    Args:
        seen: a pass of one row, without dropped tokens.
        images: positions of the image tokens in the pass.
    """
    attention, context = seen.layer.self_attn, seen.context
    (cache,) = context.caches
    length = seen.before.shape[1]
    end = cache.length + length
    query = rotate(attention.project(seen.layer.input_layernorm(seen.before))[0], context.cosine, context.sine)
    keys = cache.keys[seen.index][0, :, :end]  # (K, S, D)
    values = cache.values[seen.index][0, :, cache.length : end][:, images]  # (K, N, D)
    groups = query[0].unflatten(1, (keys.shape[0], -1)).permute(1, 2, 0, 3)  # (K, G, L, D)
    targets = slice(cache.length + images.start, cache.length + images.stop)
    # One key-value head at a time: with 4096 image tokens, all of them at once would take gigabytes.
    shares = torch.stack(
        [
            attention_probabilities(own, key, block=context.block)[:, :, targets].mean(dim=0)
            for own, key in zip(groups, keys, strict=True)
        ]
    ).mean(dim=0)  # (L, N)
    return Received(
        norms=values.float().square().sum(dim=(0, 2)).sqrt().cpu(),
        attention=shares.mean(dim=0).cpu(),
        from_text=shares[images.stop :].mean(dim=0).cpu(),
    )


def image_positions(model: Showo2) -> slice:
    """Positions of the image tokens in a prefill of a picture of the default size."""
    rows, columns = model.config.grids[0]
    first = model.config.block_extra if model.config.understanding_block == "time" else 0
    return slice(first, first + rows * columns)


@contextmanager
def image_attention(model: Showo2, layers: int = SHALLOW) -> Iterator[Callable[[], list[Received]]]:
    """Records one question with policy `exact` within the `with` block; the returned function gives what the image
    tokens received in each of the first `layers` layers."""
    found: list[Received] = []
    images = image_positions(model)

    def measure(seen: LayerPass) -> None:
        if seen.index < layers and seen.context.block > 0:
            found.append(received(seen, images))

    with watch_layers(model, measure):
        yield lambda: found


def ranks(values: Tensor) -> Tensor:
    """Ranks of values (N,) counted from 1, in float64; equal values share the mean of their ranks."""
    _, place, count = values.unique(return_inverse=True, return_counts=True)
    means: Tensor = count.cumsum(0).double() - (count.double() - 1) / 2
    return means[place]


def rank_correlation(one: Tensor, other: Tensor) -> float | None:
    """Spearman's rank correlation of two lists (N,), in [-1, 1]; None where all values of one are equal."""
    first, second = (ranks(values) - (len(values) + 1) / 2 for values in (one, other))
    scale = float(first.norm() * second.norm())
    return float(first @ second) / scale if scale > 0 else None


def token_layers(pictures: Sequence[Sequence[Received]]) -> list[TokenLayer]:
    """Collects by layer what the image tokens of several pictures received, given as `pictures[picture][layer]`."""
    return [
        TokenLayer(
            layer=index + 1,
            correlation=_mean([rank_correlation(one.norms, one.attention) for one in layer]),
            correlation_from_text=_mean([rank_correlation(one.norms, one.from_text) for one in layer]),
            norms=[one.norms.tolist() for one in layer],
            attention=[one.attention.tolist() for one in layer],
            from_text=[one.from_text.tolist() for one in layer],
        )
        for index, layer in enumerate(zip(*pictures, strict=True))
    ]


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
