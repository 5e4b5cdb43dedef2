"""How close pictures are to those of the exact run of the same seeds: paired measures that need no grader and no world.

PSNR and SSIM are scikit-image's, on 8-bit RGB; the relative error is of the latents. Source: what cache-dit, xDiT and
FasterCache report for techniques like these.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flashu_core import GenerateResult
from shapes.scores import NORMAL_95, Mean

# PSNR of equal pictures is infinite; beyond this one does not see a difference, and a mean stays finite.
MAX_PSNR = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Fidelity:
    """Of a run to the exact run: `psnr` in dB, `ssim` from -1 to 1, `latent_error` as a share of the latents' norm."""

    psnr: Mean
    ssim: Mean
    latent_error: Mean


def fidelity(results: Sequence[GenerateResult], exact: Sequence[GenerateResult]) -> Fidelity:
    """Compares results pairwise; each has one picture and its latents.

    Raises:
        ValueError: there are none, their numbers differ, or a result has no latents.
    """
    if not results or len(results) != len(exact):
        raise ValueError(f"cannot compare {len(results)} results with {len(exact)}; give as many of both, at least one")
    pairs = list(zip(results, exact, strict=True))
    return Fidelity(
        psnr=mean_of([psnr(a.images[0], b.images[0]) for a, b in pairs]),
        ssim=mean_of([ssim(a.images[0], b.images[0]) for a, b in pairs]),
        latent_error=mean_of([relative_error(latents(a), latents(b)) for a, b in pairs]),
    )


def psnr(image: NDArray[np.uint8], reference: NDArray[np.uint8]) -> float:
    """Peak signal-to-noise ratio in dB, at most `MAX_PSNR`."""
    from skimage.metrics import peak_signal_noise_ratio

    if np.array_equal(image, reference):
        return MAX_PSNR
    value: float = peak_signal_noise_ratio(reference, image)  # type: ignore[no-untyped-call]
    return min(float(value), MAX_PSNR)


def ssim(image: NDArray[np.uint8], reference: NDArray[np.uint8]) -> float:
    """Structural similarity over windows of 7 pixels, the mean of the channels."""
    from skimage.metrics import structural_similarity

    value: float = structural_similarity(reference, image, channel_axis=2)  # type: ignore[no-untyped-call]
    return float(value)


def relative_error(values: NDArray[np.float32], reference: NDArray[np.float32]) -> float:
    """Norm of the difference by the norm of the reference."""
    return float(np.linalg.norm(values - reference) / np.linalg.norm(reference))


def latents(result: GenerateResult) -> NDArray[np.float32]:
    """The latents of a result.

    Raises:
        ValueError: it has none.
    """
    if result.latents is None:
        raise ValueError("the result has no latents; set output_latents in its request")
    return result.latents


def mean_of(values: Sequence[float]) -> Mean:
    """The mean, with the interval of a normal distribution."""
    array = np.asarray(values, dtype=np.float64)
    mean = float(array.mean())
    reach = NORMAL_95 * float(array.std(ddof=1)) / math.sqrt(len(array)) if len(array) > 1 else 0.0
    return Mean(mean=mean, low=mean - reach, high=mean + reach, count=len(array))
