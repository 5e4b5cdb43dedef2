"""Drawing a scene as pixels, with edges smoothed by how much of a pixel a thing covers.

It knows the geometry of the forms and nothing of why a scene is drawn; it makes no random choices, so the
same scene always gives the same picture.
"""

from __future__ import annotations

from math import ceil, floor, sqrt

import numpy as np
from numpy.typing import NDArray

from shapes.things import BACKGROUND_RGB, COLOUR_RGB, Form, Scene

SMALLEST_PIXELS = 8


def coverage(form: Form, across: NDArray[np.float32], down: NDArray[np.float32], extent: float) -> NDArray[np.float32]:
    """How much of each pixel a form covers, in 0..1.

    `across` (columns,) and `down` (rows,) are pixel centres relative to the form's centre, and `extent` is
    its half-width, all in pixels; the answer is (rows, columns).
    """
    if form == "square":
        # Clipped one axis at a time: a corner pixel is covered by the product of both shares.
        rows = np.clip(extent - np.abs(down) + 0.5, 0.0, 1.0)
        columns = np.clip(extent - np.abs(across) + 0.5, 0.0, 1.0)
        covered = rows[:, None] * columns[None, :]
    elif form == "circle":
        distance = np.sqrt(across[None, :] ** 2 + down[:, None] ** 2)
        covered = np.clip(extent - distance + 0.5, 0.0, 1.0)
    else:
        # The sides run from the apex (0, -extent) to (+-extent, extent): |x| = (y + extent) / 2.
        side = ((down[:, None] + extent) / 2.0 - np.abs(across)[None, :]) * (2.0 / sqrt(5.0))
        base = np.clip(extent - down + 0.5, 0.0, 1.0)
        covered = np.clip(side + 0.5, 0.0, 1.0) * base[:, None]
    return covered.astype(np.float32, copy=False)


def render(scene: Scene, pixels: int = 64) -> NDArray[np.uint8]:
    """The scene as an image: uint8 of (pixels, pixels, 3), RGB; raises ValueError below 8 pixels."""
    if pixels < SMALLEST_PIXELS:
        raise ValueError(f"a picture needs at least {SMALLEST_PIXELS} pixels a side, not {pixels}")
    image = np.empty((pixels, pixels, 3), dtype=np.uint8)
    image[:] = BACKGROUND_RGB[scene.background]
    for thing in scene.things:
        x, y, extent = thing.x * pixels, thing.y * pixels, thing.extent * pixels
        left, right = max(0, floor(x - extent - 1)), min(pixels, ceil(x + extent + 1))
        top, bottom = max(0, floor(y - extent - 1)), min(pixels, ceil(y + extent + 1))
        across = np.arange(left, right, dtype=np.float32) + np.float32(0.5 - x)
        down = np.arange(top, bottom, dtype=np.float32) + np.float32(0.5 - y)
        share = coverage(thing.form, across, down, extent)[:, :, None]
        patch = image[top:bottom, left:right]
        colour = np.array(COLOUR_RGB[thing.colour], dtype=np.float32)
        # Half a step is added because the cast to uint8 drops the fraction.
        image[top:bottom, left:right] = (patch + (colour - patch) * share + np.float32(0.5)).astype(np.uint8)
    return image
