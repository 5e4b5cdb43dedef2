from __future__ import annotations

import numpy as np
import pytest

from shapes.distances import frechet, kernel_distance

RNG = np.random.default_rng(0)


def test_gaussians_of_known_distance() -> None:
    first = RNG.normal(0.0, 1.0, (40_000, 3))
    second = RNG.normal((3.0, 0.0, 0.0), 2.0, (40_000, 3))
    # |means|^2 + the sum over the axes of (1 - 2)^2.
    assert frechet(first, second) == pytest.approx(9.0 + 3.0, rel=0.02)
    assert frechet(first, first) == pytest.approx(0.0, abs=1e-6)


def test_the_kernel_distance_of_one_distribution_is_near_zero() -> None:
    samples = RNG.normal(size=(2000, 4))
    same, moved = kernel_distance(samples[:1000], samples[1000:]), kernel_distance(samples[:1000], samples[1000:] + 0.5)
    assert abs(same) < 0.05 < moved


def test_a_lack_of_variety_is_seen() -> None:
    varied = RNG.normal(size=(1000, 4))
    narrow = varied * 0.3
    assert frechet(narrow, varied) > 1.0 and kernel_distance(narrow, varied) > 0.1


@pytest.mark.parametrize("other", [(10, 3), (1, 4)])
def test_what_cannot_be_compared_is_refused(other: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="at least two samples"):
        frechet(np.zeros((10, 4)), np.zeros(other))
