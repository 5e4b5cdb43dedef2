"""Grouped-query self-attention of the decoders: projections, rotary positions, and the KV caches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from flashu_core.model.attention import Kernel, attend, rotate
from flashu_core.model.kv_cache import KeyValueCache
from flashu_core.model.pass_options import Drop
from flashu_core.model.projection import Projection


@dataclass(frozen=True, slots=True)
class Context:
    """What all layers of one pass share.

    Attributes:
        cosine, sine: rotary positions of the pass's tokens, (R, L, 1, D/2).
        caches: one for each group of consecutive rows; together they hold R rows.
        block: the first `block` tokens attend to each other fully, the rest are causal.
        kernel: the attention kernel.
    """

    cosine: Tensor
    sine: Tensor
    caches: Sequence[KeyValueCache]
    block: int
    kernel: Kernel

    def without(self, groups: Sequence[int]) -> tuple[Tensor, Context]:
        """The rows of all other groups, and their context."""
        sizes = [cache.rows for cache in self.caches]
        starts = [sum(sizes[:group]) for group in range(len(sizes))]
        others = [group for group in range(len(sizes)) if group not in groups]
        picked = [row for group in others for row in range(starts[group], starts[group] + sizes[group])]
        rows = torch.tensor(picked, device=self.cosine.device)
        caches = [self.caches[group] for group in others]
        return rows, replace(self, cosine=self.cosine[rows], sine=self.sine[rows], caches=caches)

    def at(self, kept: Tensor, drop: Drop) -> Context:
        """The context of the kept tokens, whose positions do not change."""
        gone = drop.tokens.stop - drop.tokens.start - drop.keep
        return replace(self, cosine=self.cosine[:, kept], sine=self.sine[:, kept], block=self.block - gone)


def following(x: Tensor, first: int) -> Tensor:
    """Positions from `first` on of x (R, L, ...); x itself where `first` is 0, as in nearly every layer."""
    return x[:, first:] if first else x


class SelfAttention(nn.Module):
    """Self-attention over KV caches. Upstream: Qwen2Attention, and the head's attention with query and key norms."""

    def __init__(self, width: int, heads: int, key_value_heads: int, *, bias: bool, norm: bool = False) -> None:
        super().__init__()
        size = width // heads
        self.head_size = size
        self.q_proj = Projection(width, heads * size, bias=bias)
        self.k_proj = Projection(width, key_value_heads * size, bias=bias)
        self.v_proj = Projection(width, key_value_heads * size, bias=bias)
        self.o_proj = Projection(heads * size, width, bias=False)
        self.q_norm = nn.RMSNorm(size, eps=1e-6) if norm else nn.Identity()
        self.k_norm = nn.RMSNorm(size, eps=1e-6) if norm else nn.Identity()

    def project(self, x: Tensor, first: int = 0) -> tuple[Tensor, Tensor, Tensor]:
        """Queries (R, L - first, H, D), keys and values (R, L, K, D) of x (R, L, width), before rotary positions."""

        def heads(projected: Tensor) -> Tensor:
            return projected.unflatten(-1, (-1, self.head_size))

        query, key, value = heads(self.q_proj(following(x, first))), heads(self.k_proj(x)), heads(self.v_proj(x))
        return self.q_norm(query), self.k_norm(key), value

    def forward(self, x: Tensor, layer: int, context: Context, first: int = 0) -> Tensor:
        """Attention of x (R, L, width) over the caches; writes its keys and values beyond their ends.

        Args:
            first: the first position with an output; those before it only write keys and values.

        Returns:
            (R, L - first, width)
        """
        query, key, value = self.project(x, first)
        query = rotate(query, following(context.cosine, first), following(context.sine, first))
        key = rotate(key, context.cosine, context.sine).transpose(1, 2)  # (R, K, L, D)
        value = value.transpose(1, 2)
        rows = [cache.rows for cache in context.caches]
        seen = [
            cache.extend(layer, own_key, own_value)
            for cache, own_key, own_value in zip(context.caches, key.split(rows), value.split(rows), strict=True)
        ]
        mixed = attend(
            query,
            [keys for keys, _ in seen],
            [values for _, values in seen],
            block=max(context.block - first, 0),
            kernel=context.kernel,
        )
        return self.o_proj(mixed.flatten(2))
