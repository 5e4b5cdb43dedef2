"""Show-o2, assembled: the passes that the pathways run.

A pass takes options and caches, never a technique or a request. The model holds weights only; all running state is in
the caches.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from flashu_core.config import ModelConfig
from flashu_core.model.attention import Kernel, rotary, sdpa
from flashu_core.model.backbone import Backbone
from flashu_core.model.head import Head, TimeEmbedding, velocity_to_latents
from flashu_core.model.kv_cache import KeyValueCache
from flashu_core.model.kv_pool import pooled
from flashu_core.model.pass_options import EVERYTHING, PassOptions, Trace
from flashu_core.model.passes import Passes
from flashu_core.model.self_attention import Context
from flashu_core.model.vision import Vision
from flashu_core.timing import to_device


class Showo2(nn.Module):
    """Upstream: Showo2Qwen2_5."""

    def __init__(self, config: ModelConfig, kernel: Kernel = sdpa) -> None:
        super().__init__()
        self.config = config
        self.kernel = kernel
        width = config.backbone.hidden_size
        self.backbone = Backbone(config.backbone)
        self.vision = Vision(config)
        self.time_embed = TimeEmbedding(config.head.hidden_size)
        same = width == config.head.hidden_size
        self.time_embed_proj = nn.Identity() if same else nn.Linear(config.head.hidden_size, width)
        self.head = Head(config.head, width, config.patch_values)
        self.graphs: Passes | None = None

    @contextmanager
    def eager(self) -> Iterator[None]:
        """Runs without graphs inside the block, so that the modules' hooks are called."""
        graphs, self.graphs = self.graphs, None
        try:
            yield
        finally:
            self.graphs = graphs

    @property
    def device(self) -> torch.device:
        """The weights' device."""
        return self.backbone.norm.weight.device

    @property
    def dtype(self) -> torch.dtype:
        """The weights' type."""
        return self.backbone.norm.weight.dtype

    def backbone_cache(self, rows: int, capacity: int) -> KeyValueCache:
        """An empty cache for the backbone's layers."""
        if self.graphs is not None:
            return self.graphs.backbone.pool.cache(rows, capacity)
        config = self.config.backbone
        return self._cache(config.layers, rows, config.key_value_heads, capacity, config.hidden_size // config.heads)

    def head_cache(self, rows: int, capacity: int) -> KeyValueCache:
        """An empty cache for the head's blocks."""
        if self.graphs is not None:
            return self.graphs.head.pool.cache(rows, capacity)
        config = self.config.head
        return self._cache(config.blocks, rows, config.key_value_heads, capacity, config.hidden_size // config.heads)

    @property
    def backbone_position_size(self) -> int:
        """Bytes of one position of one sequence in the backbone's cache."""
        config = self.config.backbone
        return self._position_size(config.layers, config.key_value_heads, config.hidden_size // config.heads)

    @property
    def head_position_size(self) -> int:
        """Bytes of one position of one sequence in the head's cache."""
        config = self.config.head
        return self._position_size(config.blocks, config.key_value_heads, config.hidden_size // config.heads)

    def _position_size(self, layers: int, heads: int, head_size: int) -> int:
        return 2 * layers * heads * head_size * self.dtype.itemsize  # a key and a value

    def _cache(self, layers: int, rows: int, heads: int, capacity: int, head_size: int) -> KeyValueCache:
        return KeyValueCache.empty(
            layers=layers,
            rows=rows,
            heads=heads,
            capacity=capacity,
            head_size=head_size,
            dtype=self.dtype,
            device=self.device,
        )

    def embed(self, ids: Sequence[int]) -> Tensor:
        """Token ids to embeddings (1, L, width)."""
        return self.backbone.embed_tokens(to_device([ids], self.device))

    def time_tokens(self, times: Tensor) -> tuple[Tensor, Tensor]:
        """Times (R,) to the head's time embeddings (R, head width) and the time tokens (R, 1, backbone width)."""
        if self.graphs is not None:
            return self.graphs.time_tokens(times)
        return self.plain_time_tokens(times)

    def plain_time_tokens(self, times: Tensor) -> tuple[Tensor, Tensor]:
        """As `time_tokens`, without graphs."""
        time = self.time_embed(times)
        return time, self.time_embed_proj(time)[:, None]

    def features(self, latents: Tensor) -> Tensor:
        """Latents (B, C, H, W) to image tokens (B, N, backbone width)."""
        found: Tensor = self.vision(latents) if self.graphs is None else self.graphs.features(latents)
        return found

    def image_block(self, features: Tensor, time_token: Tensor) -> Tensor:
        """Image tokens (R, N, width), preceded by their time token where the model has one."""
        return torch.cat([time_token, features], dim=1) if self.config.time_token else features

    def run_backbone(
        self, x: Tensor, caches: Sequence[KeyValueCache], *, block: int, options: PassOptions = EVERYTHING
    ) -> tuple[Tensor, Trace]:
        """Tokens (R, L, width) that follow the caches to hidden states after the final norm; see `Backbone`."""
        if self.graphs is not None and self.graphs.backbone.holds(caches, x.shape[1]):
            return self.graphs.run_backbone(x, pooled(caches), block=block, options=options)
        config = self.config.backbone
        positions = _following(x.shape[1], caches, x.device)
        cosine, sine = rotary(positions, config.hidden_size // config.heads, config.rope_theta, None, x.dtype)
        hidden, trace = self.backbone(x, Context(cosine, sine, caches, block, self.kernel), options)
        return hidden, trace

    def run_head(self, hidden: Tensor, time: Tensor | None, caches: Sequence[KeyValueCache], *, block: int) -> Tensor:
        """Hidden states (R, L, width) that follow the caches to the head's state, (R, L, head width)."""
        if self.graphs is not None and self.graphs.head.holds(caches, hidden.shape[1]):
            return self.graphs.run_head(hidden, time, pooled(caches), block=block)
        config = self.config.head
        positions = _following(hidden.shape[1], caches, hidden.device)
        size = config.hidden_size // config.heads
        cosine, sine = rotary(positions, size, config.rope_theta, config.rope_scaling, hidden.dtype)
        return self.head(hidden, time, Context(cosine, sine, caches, block, self.kernel))

    def velocity(self, state: Tensor, time: Tensor, grid: tuple[int, int]) -> Tensor:
        """The head's state of an image block and its time to velocities in float32, (R, C, H, W)."""
        if self.graphs is not None:
            return self.graphs.velocity(state, time, grid)
        return self.plain_velocity(state, time, grid)

    def plain_velocity(self, state: Tensor, time: Tensor, grid: tuple[int, int]) -> Tensor:
        tokens = self.head.final(state[:, self.config.block_extra :], time).float()
        return velocity_to_latents(tokens, *grid, self.config.patch_size, self.config.velocity_layout)

    def logits(self, hidden: Tensor) -> Tensor:
        """Hidden states (..., width) to logits in float32, (..., vocabulary)."""
        return self.backbone.lm_head(hidden).float()


def _following(length: int, caches: Sequence[KeyValueCache], device: torch.device) -> Tensor:
    starts = [cache.length for cache in caches for _ in range(cache.rows)]
    return to_device(starts, device)[:, None] + torch.arange(length, device=device)
