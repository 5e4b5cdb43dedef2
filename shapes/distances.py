"""How far the distribution of pictures is from that of true ones, by features of both (count, width).

Fréchet distance as FID has it (arXiv 1706.08500), kernel distance as KID (arXiv 1801.01401): a polynomial kernel of
degree three, unbiased. Neither compares pictures in pairs, so both also see what a paired measure cannot: a lack of
variety.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Features = NDArray[np.float64]


def frechet(features: Features, reference: Features) -> float:
    """Squared Fréchet distance of two Gaussians fitted to features.

    Raises:
        ValueError: fewer samples than two in either, or different widths.
    """
    _check(features, reference)
    means = features.mean(axis=0), reference.mean(axis=0)
    first, second = np.cov(features, rowvar=False), np.cov(reference, rowvar=False)
    # The trace of the root of a product is the sum of the roots of its eigenvalues, which are real and not negative.
    roots = np.sqrt(np.clip(np.linalg.eigvals(np.atleast_2d(first @ second)).real, 0.0, None)).sum()
    value = ((means[0] - means[1]) ** 2).sum() + np.trace(np.atleast_2d(first + second)) - 2 * roots
    return float(max(value, 0.0))


def kernel_distance(features: Features, reference: Features) -> float:
    """Unbiased squared maximum mean discrepancy; near zero, and at times below it, for equal distributions.

    Raises:
        ValueError: fewer samples than two in either, or different widths.
    """
    _check(features, reference)
    width = features.shape[1]

    def kernel(a: Features, b: Features) -> Features:
        value: Features = (a @ b.T / width + 1.0) ** 3
        return value

    first, second = len(features), len(reference)
    own, other = kernel(features, features), kernel(reference, reference)
    within = (own.sum() - np.trace(own)) / (first * (first - 1))
    within += (other.sum() - np.trace(other)) / (second * (second - 1))
    return float(within - 2 * kernel(features, reference).mean())


def _check(features: Features, reference: Features) -> None:
    if features.shape[1:] != reference.shape[1:] or min(len(features), len(reference)) < 2:
        raise ValueError(
            f"cannot compare features of shapes {features.shape} and {reference.shape}; "
            "both need at least two samples of one width"
        )
