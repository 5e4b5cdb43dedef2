"""Statistics of latencies and throughput; None if there is no data."""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Callable, Sequence

import numpy as np

from load_tests.bench.arrivals import Window

Span = tuple[float, float]
_PART_S = 3.0  # longer than most requests, so that parts are nearly independent
_STUDENT = 2.0  # 95 %, one-sided, of about six parts
_MAX_BY_CHANCE = 0.1  # larger fluctuations are not excused


def quantile(values: Sequence[float], share: float) -> float | None:
    """The smallest of the values that at least `share` of them do not exceed (NumPy's `inverted_cdf`: a value that was
    measured, never one between two); None for no values."""
    return float(np.quantile(values, share, method="inverted_cdf")) if values else None


def quantiles(values: Sequence[float]) -> dict[str, float | None]:
    return {
        "p50": quantile(values, 0.5),
        "p90": quantile(values, 0.9),
        "p95": quantile(values, 0.95),
        "p99": quantile(values, 0.99),
        "max": max(values, default=None),
    }


def least_ratio(
    ones: Sequence[float], others: Sequence[float], share: float, *, confidence: float = 0.95, resamples: int = 1000
) -> float | None:
    """The lower confidence bound of the ratio of a quantile of `ones` to that of `others`, by bootstrap resampling of
    both; None if one of them is empty.

    A quantile near 1 of a few hundred values depends on the few largest, so its ratio varies by tens of percent between
    runs in which nothing differs.
    """
    if not ones or not others:
        return None
    generator = random.Random(0)

    def resampled(values: Sequence[float]) -> float:
        return float(np.quantile(generator.choices(values, k=len(values)), share, method="inverted_cdf"))

    return quantile([resampled(ones) / resampled(others) for _ in range(resamples)], 1 - confidence)


def throughput(spans: Sequence[Span], window: Window, weights: Sequence[float] | None = None) -> float:
    """Work done per second of the window; each request counts evenly over its span.

    Requests in a batch end together, so a count of ends would depend on where the window cuts such bursts. Here a
    request that is half done at the edge counts as a half.

    Args:
        spans: start and end of the work on each completed request.
        weights: of each; 1 by default.
    """
    given = weights if weights is not None else [1.0] * len(spans)
    done = sum(weight * _under_way(span, window) for span, weight in zip(spans, given, strict=True))
    return done / window.seconds


def by_chance(rate: Callable[[Window], float], window: Window) -> float:
    """How far a rate over a window may be below its long-run value by chance, with 95 % confidence, from its spread
    over parts of the window; at most 0.1.

    Args:
        rate: the rate over a part of the window.
    """
    count = int(window.seconds / _PART_S)
    if count < 2:
        return 0.0
    length = window.seconds / count
    starts = [window.start + length * index for index in range(count)]
    spread = statistics.stdev(rate(Window(start, start + length)) for start in starts)
    return min(_STUDENT * spread / math.sqrt(count), _MAX_BY_CHANCE)


def _under_way(span: Span, window: Window) -> float:
    """Share of the span that lies in the window."""
    start, end = span
    if end <= start:
        return float(window.start <= end < window.end)
    return max(min(end, window.end) - max(start, window.start), 0.0) / (end - start)


def max_concurrent(spans: Sequence[Span]) -> int:
    """Maximum number of overlapping spans; one that ends where another begins does not overlap it."""
    changes = sorted([(start, 1) for start, _ in spans] + [(end, -1) for _, end in spans])
    maximum = now = 0
    for _, change in changes:
        now += change
        maximum = max(maximum, now)
    return maximum


def settled_after(abnormal: Sequence[tuple[float, bool]], *, tolerated: float = 0.05) -> float | None:
    """The earliest time after which at most the tolerated share is abnormal; None if there is no such time.

    Args:
        abnormal: pairs of a time and whether its event was abnormal.
    """
    ordered = sorted(abnormal)
    found, bad = None, 0
    for count, (at, is_abnormal) in enumerate(reversed(ordered), start=1):
        bad += is_abnormal
        if not is_abnormal and bad <= tolerated * count:
            found = at
    return found
