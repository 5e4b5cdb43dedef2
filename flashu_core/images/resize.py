"""Resizing of pictures, uint8 arrays, without torch: a process that only passes pictures to an engine starts without
it."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image

from flashu_core.types import Pixels

# A long strip is cropped to this many times its visible part before it is scaled: whole it could take gigabytes.
_MAX_BEYOND = 8


def cover(pixels: Pixels, height: int, width: int) -> Pixels:
    """Resizes a picture so that it covers the target, and crops its centre.

    Args:
        pixels: uint8 (H, W, 3).
        height, width: of the result.

    Returns:
        uint8 (height, width, 3); covering it again changes nothing.
    """
    scale = max(height / pixels.shape[0], width / pixels.shape[1])
    pixels = _middle(pixels, math.ceil(_MAX_BEYOND * height / scale), math.ceil(_MAX_BEYOND * width / scale))
    rows, columns = pixels.shape[:2]
    size = (max(round(columns * scale), width), max(round(rows * scale), height))
    image = Image.fromarray(pixels)
    if image.size != size:
        # Pillow's bicubic filter widens with the scale when shrinking: the antialiasing the model was trained with.
        image = image.resize(size, Image.Resampling.BICUBIC)
    left, top = (size[0] - width) // 2, (size[1] - height) // 2
    return np.array(image.crop((left, top, left + width, top + height)))


def _middle(pixels: Pixels, rows: int, columns: int) -> Pixels:
    top, left = max(pixels.shape[0] - rows, 0) // 2, max(pixels.shape[1] - columns, 0) // 2
    return pixels[top : top + rows, left : left + columns]
