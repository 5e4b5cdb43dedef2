"""Conversion between uint8 pixels and the autoencoder's tensors in [-1, 1]."""

from __future__ import annotations

import torch
from torch import Tensor

from flashu_core.images.resize import cover
from flashu_core.types import Pixels


def fit(pixels: Pixels, height: int, width: int) -> Tensor:
    """A picture as the autoencoder's input, resized by `cover`.

    Returns:
        (1, 3, height, width) float32 in [-1, 1].
    """
    covered = cover(pixels, height, width)
    return torch.from_numpy(covered).permute(2, 0, 1)[None].float().div(127.5).sub(1)


def to_pixels(images: Tensor) -> tuple[Pixels, ...]:
    """Decoded images (B, 3, H, W), nominally in [-1, 1], to uint8 arrays (H, W, 3)."""
    scaled = images.clamp(-1, 1).add(1).mul(127.5).round().to(torch.uint8)
    return tuple(scaled.permute(0, 2, 3, 1).cpu().numpy())
