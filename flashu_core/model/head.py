"""The diffusion head: decoder blocks modulated by time, and the final layer that computes velocities.

Text positions are not modulated, so a text prefix runs with `modulation=None` and is cached like the backbone's.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from flashu_core.config import HeadConfig
from flashu_core.model.ffn import GatedFFN
from flashu_core.model.self_attention import Context, SelfAttention


class TimeEmbedding(nn.Module):
    """Sinusoids of the time, through two layers. Upstream: TimestepEmbedder."""

    def __init__(self, width: int, frequencies: int = 256) -> None:
        super().__init__()
        self.frequencies = frequencies
        self.mlp = nn.Sequential(nn.Linear(frequencies, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, times: Tensor) -> Tensor:
        """Times (R,) in [0, 1] to (R, width)."""
        half = self.frequencies // 2
        exponents = torch.arange(half, dtype=torch.float32, device=times.device) / half
        angles = times.float()[:, None] * torch.exp(-math.log(10_000.0) * exponents)
        waves = torch.cat([angles.cos(), angles.sin()], dim=-1)
        return self.mlp(waves.to(self.mlp[0].get_parameter("weight").dtype))


def modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """`x * (1 + scale) + shift` in float32, in x's type."""
    return torch.addcmul(shift.float(), x.float(), scale.float() + 1).to(x.dtype)


class HeadBlock(nn.Module):
    """A decoder block with adaLN."""

    def __init__(self, config: HeadConfig) -> None:
        super().__init__()
        width = config.hidden_size
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 6 * width))
        self.self_attn = SelfAttention(
            width, config.heads, config.key_value_heads, bias=False, norm=config.query_key_norm
        )
        self.mlp = GatedFFN(width, config.ffn_size)
        self.input_layernorm = nn.RMSNorm(width, eps=config.norm_eps)
        self.post_attention_layernorm = nn.RMSNorm(width, eps=config.norm_eps)

    def forward(self, x: Tensor, time: Tensor | None, layer: int, context: Context) -> Tensor:
        """x (R, L, width); time (R, width) modulates every position, None modulates none."""
        if time is None:
            x = x + self.self_attn(self.input_layernorm(x), layer, context)
            return x + self.mlp(self.post_attention_layernorm(x))
        modulation = self.adaLN_modulation(time)[:, None]
        shift, scale, gate, ffn_shift, ffn_scale, ffn_gate = modulation.chunk(6, dim=-1)
        x = x + gate * self.self_attn(modulate(self.input_layernorm(x), shift, scale), layer, context)
        return x + ffn_gate * self.mlp(modulate(self.post_attention_layernorm(x), ffn_shift, ffn_scale))


class FinalLayer(nn.Module):
    """Norm, modulation and the projection to a patch's latent values."""

    def __init__(self, width: int, patch_values: int) -> None:
        super().__init__()
        self.norm_final = nn.RMSNorm(width, eps=1e-6)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 2 * width))
        self.linear = nn.Linear(width, patch_values)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:  # (R, L, width), (R, width) -> (R, L, patch values)
        shift, scale = self.adaLN_modulation(time)[:, None].chunk(2, dim=-1)
        return self.linear(modulate(self.norm_final(x), shift, scale))


class Head(nn.Module):
    """Hidden states of the backbone to velocities of the image tokens."""

    def __init__(self, config: HeadConfig, backbone_width: int, patch_values: int) -> None:
        super().__init__()
        width = config.hidden_size
        self.config = config
        self.diff_proj = (
            nn.Identity()
            if backbone_width == width
            else nn.Sequential(nn.Linear(backbone_width, width), nn.GELU(), nn.Linear(width, width))
        )
        self.blocks = nn.ModuleList(HeadBlock(config) for _ in range(config.blocks))
        self.final = FinalLayer(width, patch_values)

    def modulations(self, time: Tensor) -> tuple[Tensor, ...]:
        """The adaLN modulation of each block for time embeddings (R, width), (R, 6 width) each."""
        return tuple(block.adaLN_modulation(time) for block in self.blocks if isinstance(block, HeadBlock))

    def forward(self, hidden: Tensor, time: Tensor | None, context: Context) -> Tensor:
        """The head's state before its final layer: (R, L, backbone width) to (R, L, width)."""
        x = self.diff_proj(hidden)
        for index, block in enumerate(self.blocks):
            x = block(x, time, index, context)
        return x


def velocity_to_latents(tokens: Tensor, rows: int, columns: int, patch: int, layout: str) -> Tensor:
    """Arranges the final layer's output as latents.

    Args:
        tokens: (R, rows * columns, patch * patch * channels), the time token already dropped.
        rows, columns: the image's token grid.
        patch: side of a patch in latents.
        layout: "flat" fills the latents row by row in the tokens' order, which is not each patch's place but what the
            published models were trained with; "patches" puts each patch at its place.

    Returns:
        (R, channels, rows * patch, columns * patch)
    """
    batch = tokens.shape[0]
    channels = tokens.shape[-1] // (patch * patch)
    if layout == "flat":
        pixels = tokens.reshape(batch, -1, channels).transpose(1, 2)
        return pixels.reshape(batch, channels, rows * patch, columns * patch)
    grid = tokens.view(batch, rows, columns, patch, patch, channels)
    return grid.permute(0, 5, 1, 3, 2, 4).reshape(batch, channels, rows * patch, columns * patch)
