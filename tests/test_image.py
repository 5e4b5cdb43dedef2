from __future__ import annotations

import numpy as np
import pytest
import torch

from flashu_core.image import fit, to_pixels


def test_a_picture_of_the_right_size_is_not_touched() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (32, 48, 3), dtype=np.uint8)
    (back,) = to_pixels(fit(pixels, 32, 48))
    assert np.array_equal(back, pixels)


@pytest.mark.parametrize("shape", [(10, 10), (1, 500), (333, 20), (1000, 999)])
def test_any_shape_fits(shape: tuple[int, int]) -> None:
    fitted = fit(np.full((*shape, 3), 200, np.uint8), 32, 48)
    assert fitted.shape == (1, 3, 32, 48)
    assert torch.allclose(fitted, torch.full_like(fitted, 200 / 127.5 - 1), atol=1e-6)


def test_the_centre_is_kept() -> None:
    pixels = np.zeros((20, 60, 3), np.uint8)
    pixels[:, 20:40] = 255
    assert fit(pixels, 20, 20).min() == 1.0


def test_shrinking_is_antialiased() -> None:
    pixels = np.indices((64, 64)).sum(0) % 2 * 255
    fitted = fit(np.repeat(pixels[..., None], 3, axis=2).astype(np.uint8), 8, 8)
    assert fitted.abs().max() < 0.1


def test_values_are_clamped_and_rounded() -> None:
    image = torch.tensor([-2.0, -1.0, 0.0, 0.999, 5.0]).view(1, 1, 1, 5).expand(1, 3, 1, 5)
    (pixels,) = to_pixels(image)
    assert pixels[0, :, 0].tolist() == [0, 0, 128, 255, 255]
