from __future__ import annotations

import numpy as np
import pytest

from flashu_core import Engine, GenerateRequest, GenerateResult
from shapes.fidelity import MAX_PSNR, fidelity, mean_of, psnr, relative_error, ssim


@pytest.fixture(scope="module")
def exact(embedded: Engine) -> GenerateResult:
    return embedded.generate(
        GenerateRequest(
            prompt="a red circle", seed=3, acceleration="exact", num_inference_steps=20, output_latents=True
        )
    )


def test_a_picture_is_at_its_best_beside_itself(exact: GenerateResult) -> None:
    found = fidelity([exact], [exact])
    assert (found.psnr.mean, found.ssim.mean, found.latent_error.mean) == (MAX_PSNR, pytest.approx(1.0), 0.0)


def test_fewer_steps_are_further_away(embedded: Engine, exact: GenerateResult) -> None:
    found = []
    for steps in (12, 4):
        request = GenerateRequest(
            prompt="a red circle", seed=3, acceleration="exact", num_inference_steps=steps, output_latents=True
        )
        found.append(fidelity([embedded.generate(request)], [exact]))
    near, far = found
    assert near.psnr.mean > far.psnr.mean and near.ssim.mean > far.ssim.mean
    assert 0 < near.latent_error.mean < far.latent_error.mean


def test_psnr_and_ssim_are_the_known_values() -> None:
    black = np.zeros((16, 16, 3), np.uint8)
    grey = np.full_like(black, 16)
    assert psnr(grey, black) == pytest.approx(20 * np.log10(255 / 16))
    noise = np.random.default_rng(0).integers(0, 255, black.shape, dtype=np.uint8)
    assert ssim(noise, noise) == pytest.approx(1.0) and abs(ssim(noise, noise[::-1])) < 0.2


def test_an_error_is_relative_to_the_reference() -> None:
    reference = np.full((2, 2), 2.0, np.float32)
    assert relative_error(reference * np.float32(1.1), reference) == pytest.approx(0.1, rel=1e-5)


def test_what_cannot_be_compared_is_refused(embedded: Engine, exact: GenerateResult) -> None:
    without = embedded.generate(GenerateRequest(prompt="a", seed=1, num_inference_steps=4))
    with pytest.raises(ValueError, match="output_latents"):
        fidelity([without], [exact])
    for results in ([], [exact, exact]):
        with pytest.raises(ValueError, match="as many of both"):
            fidelity(results, [exact])


def test_the_interval_of_a_mean_narrows_with_the_number() -> None:
    few, many = mean_of([1.0, 3.0] * 2), mean_of([1.0, 3.0] * 50)
    assert few.mean == many.mean == 2.0
    assert many.high - many.low < 0.3 * (few.high - few.low)
    assert mean_of([5.0]).low == 5.0
