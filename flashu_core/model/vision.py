"""From latents to the backbone's image tokens: semantic layers, patch embedders and their fusion."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from flashu_core.config import ModelConfig, VisionConfig
from flashu_core.model.embedding import Embedding


class VisionAttention(nn.Module):
    """Full attention among all patches."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj = nn.Linear(width, width)
        self.k_proj = nn.Linear(width, width)
        self.v_proj = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:  # (B, N, width)
        batch, tokens, width = x.shape
        shape = (batch, tokens, self.heads, width // self.heads)
        query, key, value = (
            projection(x).view(shape).transpose(1, 2) for projection in (self.q_proj, self.k_proj, self.v_proj)
        )
        mixed = functional.scaled_dot_product_attention(query, key, value)
        return self.out_proj(mixed.transpose(1, 2).reshape(batch, tokens, width))


class VisionFFN(nn.Module):
    """Two linear layers with a tanh-approximated GELU between them."""

    def __init__(self, width: int, ffn_size: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, ffn_size)
        self.fc2 = nn.Linear(ffn_size, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(functional.gelu(self.fc1(x), approximate="tanh"))


class VisionLayer(nn.Module):
    """Upstream: SiglipEncoderLayer."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        width = config.hidden_size
        self.layer_norm1 = nn.LayerNorm(width, eps=config.norm_eps)
        self.self_attn = VisionAttention(width, config.heads)
        self.layer_norm2 = nn.LayerNorm(width, eps=config.norm_eps)
        self.mlp = VisionFFN(width, config.ffn_size)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.self_attn(self.layer_norm1(x))
        return x + self.mlp(self.layer_norm2(x))


class PatchEmbedder(nn.Module):
    """One token for each patch of latents."""

    def __init__(self, config: ModelConfig, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(config.latent_channels, width, config.patch_size, stride=config.patch_size)

    def forward(self, latents: Tensor) -> Tensor:  # (B, C, H, W) -> (B, N, width)
        # Later sums would inherit the transposed strides, and every norm would have to copy.
        return self.proj(latents).flatten(2).transpose(1, 2).contiguous()


class Vision(nn.Module):
    """Latents to fused image tokens; the same for noisy latents (generation) and clean ones (understanding)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        vision, width = config.vision, config.backbone.hidden_size
        self.grid = vision.position_grid
        self.patch_size = config.patch_size
        self.image_embedder_und = PatchEmbedder(config, vision.hidden_size)
        self.image_embedder_gen = PatchEmbedder(config, width)
        self.position_embedding = Embedding(self.grid**2, vision.hidden_size)
        self.layers = nn.ModuleList(VisionLayer(vision) for _ in range(vision.layers))
        self.fusion_proj = nn.Sequential(
            nn.RMSNorm(vision.hidden_size + width, eps=1e-6),
            nn.Linear(vision.hidden_size + width, width),
            nn.GELU(),
            nn.Linear(width, width),
        )

    def positions(self, rows: int, columns: int) -> Tensor:
        """The position table for a grid, (rows * columns, width), resized where the number of tokens differs."""
        table = self.position_embedding.weight
        if rows * columns == self.grid**2:
            return table
        square = table.view(1, self.grid, self.grid, -1).permute(0, 3, 1, 2).float()
        resized = functional.interpolate(square, size=(rows, columns), mode="bicubic", align_corners=False)
        return resized[0].flatten(1).T.to(table.dtype)

    def forward(self, latents: Tensor) -> Tensor:
        """Latents (B, C, H, W) to image tokens (B, N, backbone width)."""
        return self.embed(latents, list(self.layers))

    def embed(self, latents: Tensor, layers: Sequence[Callable[[Tensor], Tensor]]) -> Tensor:
        """As `forward`, with other implementations of its layers."""
        latents = latents.to(self.position_embedding.weight.dtype)
        rows, columns = latents.shape[-2] // self.patch_size, latents.shape[-1] // self.patch_size
        semantic = self.image_embedder_und(latents) + self.positions(rows, columns)
        for layer in layers:
            semantic = layer(semantic)
        return self.fusion_proj(torch.cat([semantic, self.image_embedder_gen(latents)], dim=-1))
