from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from flashu_core.images.resize import cover
from flashu_core.images.tensors import fit, to_pixels


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


@pytest.mark.parametrize("shape", [(1601, 1203), (40, 50), (31, 700)])
def test_what_was_covered_once_is_read_the_same(shape: tuple[int, int]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    covered = cover(pixels, 32, 48)
    assert covered.shape == (32, 48, 3)
    assert np.array_equal(cover(covered, 32, 48), covered)
    assert torch.equal(fit(covered, 32, 48), fit(pixels, 32, 48))


@pytest.mark.parametrize("shape", [(8, 2_000_000), (2_000_000, 8), (1, 100_000)])
def test_a_strip_is_cut_before_it_is_scaled(shape: tuple[int, int]) -> None:
    pixels = np.zeros((*shape, 3), np.uint8)
    middle = tuple(slice(max(side // 2 - 100, 0), side // 2 + 100) for side in shape)
    pixels[middle] = 200
    # Scaled whole it would be gigabytes: too many for the memory of small machines, and for the time of this test.
    assert torch.allclose(fit(pixels, 64, 64), torch.full((1, 3, 64, 64), 200 / 127.5 - 1), atol=1e-6)


@pytest.mark.parametrize("shape", [(100, 700), (700, 100), (333, 45), (40, 50)])
def test_ordinary_pictures_are_scaled_whole(shape: tuple[int, int]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    scale = max(32 / shape[0], 32 / shape[1])
    size = (max(round(shape[1] * scale), 32), max(round(shape[0] * scale), 32))
    whole = np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC))
    left, top = (size[0] - 32) // 2, (size[1] - 32) // 2
    (found,) = to_pixels(fit(pixels, 32, 32))
    assert np.array_equal(found, whole[top : top + 32, left : left + 32])


def test_shrinking_is_antialiased() -> None:
    pixels = np.indices((64, 64)).sum(0) % 2 * 255
    fitted = fit(np.repeat(pixels[..., None], 3, axis=2).astype(np.uint8), 8, 8)
    assert fitted.abs().max() < 0.1


def test_values_are_clamped_and_rounded() -> None:
    image = torch.tensor([-2.0, -1.0, 0.0, 0.999, 5.0]).view(1, 1, 1, 5).expand(1, 3, 1, 5)
    (pixels,) = to_pixels(image)
    assert pixels[0, :, 0].tolist() == [0, 0, 128, 255, 255]
