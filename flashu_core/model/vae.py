"""Wan 2.1's autoencoder for single images, as 2-D convolutions.

For one frame every causal 3x3x3 convolution sees zeros in its first two time taps and the resamplers' time convolutions
do not run, so the last time tap alone is exact (`image_weights` takes it when loading). Pixels are in [-1, 1], latents
normalised per channel.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from flashu_core.config import VaeConfig
from flashu_core.model import fused_ops as fused
from flashu_core.model.cuda_graphs import Buffers, Calls, Captures

# Latents beyond a tile's edge in the receptive field of the upsampling half: 6 at the coarsest level for three residual
# blocks, and 1/2 + 3 + 1/4 + 3/2 + 1/8 + 3/4 + 1/8 for the convolutions at 2, 4 and 8 times the resolution.
_TILE_HALO = 13
_TILE_LATENTS = 32
_WHOLE_LATENTS = 64  # 512 px: up to here an image is decoded in one piece


class ChannelNorm(nn.Module):
    """RMS norm over the channels of each pixel. Upstream: RMS_norm."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.scale = channels**0.5
        self.gamma = nn.Parameter(torch.ones(channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:  # (B, C, H, W)
        if x.device.type != "cpu" or x.dtype != torch.float32:
            return functional.normalize(x, dim=1) * (self.scale * self.gamma)
        # The same as sums: torch's norm over a strided dimension takes up to ten times as long on a CPU.
        length = x.square().sum(dim=1, keepdim=True).sqrt()
        return x * (self.scale / length.clamp_min(1e-12)) * self.gamma


def _norm_silu(norm: nn.Module, x: Tensor) -> Tensor:
    assert isinstance(norm, ChannelNorm)
    if x.is_cuda and fused.HAS_KERNELS:
        return fused.channel_norm_silu(x, norm.gamma.flatten(), norm.scale)
    return functional.silu(norm(x))


class ResidualBlock(nn.Module):
    """Norm, SiLU, convolution, twice, with a residual connection."""

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            ChannelNorm(channels),
            nn.SiLU(),
            nn.Conv2d(channels, out_channels, 3, padding=1),
            ChannelNorm(out_channels),
            nn.SiLU(),
            nn.Identity(),  # upstream's dropout: keeps the published indices
            nn.Conv2d(out_channels, out_channels, 3, padding=1),
        )
        same = channels == out_channels
        self.shortcut = nn.Identity() if same else nn.Conv2d(channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        norm, _, convolution, out_norm, _, _, out_convolution = self.residual
        inner = convolution(_norm_silu(norm, x))
        return self.shortcut(x) + out_convolution(_norm_silu(out_norm, inner))


class PixelAttention(nn.Module):
    """Single-head full attention over the pixels of the coarsest level."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = ChannelNorm(channels)
        self.to_qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.proj = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        qkv = self.to_qkv(self.norm(x)).reshape(batch, 3, 1, channels, height * width)
        query, key, value = qkv.transpose(-1, -2).unbind(1)  # (B, 1, HW, C) each
        mixed = functional.scaled_dot_product_attention(query, key, value)
        mixed = mixed.transpose(-1, -2).reshape(batch, channels, height, width)
        return x + self.proj(mixed)


class Downsample(nn.Module):
    """Halves both sides; pads on the right and below only."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.resample = nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(channels, channels, 3, stride=2))

    def forward(self, x: Tensor) -> Tensor:
        return self.resample(x)


class Double(nn.Module):
    """Repeats each pixel twice along both sides."""

    def forward(self, x: Tensor) -> Tensor:  # (B, C, H, W) -> (B, C, 2H, 2W)
        if x.is_cuda:  # keeps the memory format
            return functional.interpolate(x, scale_factor=2.0, mode="nearest")
        # Not nn.Upsample: compiled for a CPU, torch 2.13 gives it a gradient of zero.
        batch, channels, height, width = x.shape
        wide = x[:, :, :, None, :, None].expand(batch, channels, height, 2, width, 2)
        return wide.reshape(batch, channels, 2 * height, 2 * width)


class Upsample(nn.Module):
    """Doubles both sides and halves the channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.resample = nn.Sequential(
            Double(),
            nn.Conv2d(channels, channels // 2, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.resample(x)


def _middle(channels: int) -> nn.Sequential:
    return nn.Sequential(ResidualBlock(channels, channels), PixelAttention(channels), ResidualBlock(channels, channels))


class Output(nn.Sequential):
    """Norm, SiLU, and the last convolution."""

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__(ChannelNorm(channels), nn.SiLU(), nn.Conv2d(channels, out_channels, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        norm, _, convolution = self
        found: Tensor = convolution(_norm_silu(norm, x))
        return found


class Encoder(nn.Module):
    """Pixels (B, 3, H, W) to mean and log-variance (B, 2 C, H/8, W/8), before the quantising convolution."""

    def __init__(self, config: VaeConfig) -> None:
        super().__init__()
        widths = [config.width * multiplier for multiplier in (1, *config.multipliers)]
        self.conv1 = nn.Conv2d(3, widths[0], 3, padding=1)
        levels: list[nn.Module] = []
        for index, (width, out_width) in enumerate(pairwise(widths)):
            for _ in range(config.residual_blocks):
                levels.append(ResidualBlock(width, out_width))
                width = out_width
            if index < len(config.multipliers) - 1:
                levels.append(Downsample(out_width))
        self.downsamples = nn.Sequential(*levels)
        self.middle = _middle(widths[-1])
        self.head = Output(widths[-1], 2 * config.latent_channels)

    def forward(self, pixels: Tensor) -> Tensor:
        return self.head(self.middle(self.downsamples(self.conv1(pixels))))


class Decoder(nn.Module):
    """Latents (B, C, h, w) to pixels (B, 3, 8h, 8w), not clamped."""

    def __init__(self, config: VaeConfig) -> None:
        super().__init__()
        multipliers = config.multipliers
        widths = [config.width * multiplier for multiplier in (multipliers[-1], *reversed(multipliers))]
        self.conv1 = nn.Conv2d(config.latent_channels, widths[0], 3, padding=1)
        self.middle = _middle(widths[0])
        levels: list[nn.Module] = []
        for index, (width, out_width) in enumerate(pairwise(widths)):
            if index > 0:
                width //= 2  # the upsampling before this level halved the channels
            for _ in range(config.residual_blocks + 1):
                levels.append(ResidualBlock(width, out_width))
                width = out_width
            if index < len(multipliers) - 1:
                levels.append(Upsample(out_width))
        self.upsamples = nn.Sequential(*levels)
        self.head = Output(widths[-1], 3)

    def coarse(self, latents: Tensor) -> Tensor:
        """The part with attention: it runs on the whole image, at latent resolution."""
        return self.middle(self.conv1(latents))

    def fine(self, features: Tensor) -> Tensor:
        """The purely convolutional part, which a tile with enough halo computes exactly."""
        return self.head(self.upsamples(features))

    def forward(self, latents: Tensor) -> Tensor:
        return self.fine(self.coarse(latents))


class Vae(nn.Module):
    """Encodes pixels to normalised latents and back. Upstream: Wan2.1's WanVAE_, one frame."""

    def __init__(self, config: VaeConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.conv1 = nn.Conv2d(2 * config.latent_channels, 2 * config.latent_channels, 1)
        self.conv2 = nn.Conv2d(config.latent_channels, config.latent_channels, 1)
        self.decoder = Decoder(config)
        self.graphs: Calls | None = None
        self._spread: dict[torch.device, tuple[Tensor, Tensor]] = {}  # mean and deviation

    def _statistics(self, like: Tensor) -> tuple[Tensor, Tensor]:
        if like.device not in self._spread:
            mean, std = (
                torch.tensor(values, dtype=torch.float32, device=like.device).view(1, -1, 1, 1)
                for values in (self.config.latents_mean, self.config.latents_std)
            )
            self._spread[like.device] = mean, std
        return self._spread[like.device]

    def posterior(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Pixels (B, 3, H, W) in [-1, 1] to the mean and log-variance of raw latents, (B, C, H/8, W/8) each."""
        mean, log_variance = self.conv1(self.encoder(pixels)).chunk(2, dim=1)
        return mean, log_variance

    def encode(self, pixels: Tensor) -> Tensor:
        """Pixels (B, 3, H, W) in [-1, 1], sides multiples of 8, to normalised latents (B, C, H/8, W/8) in float32."""
        if self.graphs is not None:
            return self.graphs("encode", lambda own: (self._encode(own),), pixels)[0].clone()
        return self._encode(pixels)

    def _encode(self, pixels: Tensor) -> Tensor:
        raw, _ = self.posterior(pixels.to(self.conv1.weight.dtype))
        mean, std = self._statistics(raw)
        return (raw.float() - mean) / std

    def decode(self, latents: Tensor) -> Tensor:
        """Normalised latents (B, C, h, w) to pixels (B, 3, 8h, 8w) in float32, not clamped.

        Above 512 px the convolutional part runs tile by tile. The halo covers its receptive field: the result is the
        same, with less peak memory.
        """
        if self.graphs is not None:
            return self.graphs("decode", lambda own: (self._decode(own),), latents)[0].clone()
        return self._decode(latents)

    def _decode(self, latents: Tensor) -> Tensor:
        mean, std = self._statistics(latents)
        raw = (latents.float() * std + mean).to(self.conv2.weight.dtype)
        features = self.decoder.coarse(self.conv2(raw))
        height, width = features.shape[-2:]
        if max(height, width) <= _WHOLE_LATENTS:
            return self.decoder.fine(features).float()
        return self._decode_tiles(features)

    def _decode_tiles(self, features: Tensor) -> Tensor:
        scale = self.config.compression
        height, width = features.shape[-2:]
        pixels = torch.empty(features.shape[0], 3, height * scale, width * scale, device=features.device)
        for top in range(0, height, _TILE_LATENTS):
            bottom = min(top + _TILE_LATENTS, height)
            above = max(top - _TILE_HALO, 0)
            for left in range(0, width, _TILE_LATENTS):
                right = min(left + _TILE_LATENTS, width)
                before = max(left - _TILE_HALO, 0)
                tile = self.decoder.fine(features[:, :, above : bottom + _TILE_HALO, before : right + _TILE_HALO])
                inner = tile[
                    :,
                    :,
                    (top - above) * scale : (bottom - above) * scale,
                    (left - before) * scale : (right - before) * scale,
                ]
                pixels[:, :, top * scale : bottom * scale, left * scale : right * scale] = inner
        return pixels


def use_graphs(vae: Vae) -> None:
    """Makes encoding and decoding run as CUDA graphs, in channels-last memory format."""
    vae.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    vae.graphs = Calls(Captures(vae.conv1.weight.device), Buffers(vae.conv1.weight.device))


def image_weights(published: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Reduces a video autoencoder's weights to those that single images need.

    Args:
        published: tensors named as in `Wan2.1_VAE.pth`, convolutions either 5-D (time first among the kernel's axes)
            or already 2-D.

    Returns:
        Tensors of `Vae`: the last time tap of each convolution, norms as (C, 1, 1), without time convolutions.
    """
    weights: dict[str, Tensor] = {}
    for name, tensor in published.items():
        if ".time_conv." in name:
            continue
        if tensor.dim() == 5:
            tensor = tensor[:, :, -1]
        elif name.endswith(".gamma"):
            tensor = tensor.reshape(-1, 1, 1)
        weights[name] = tensor.contiguous()
    return weights
