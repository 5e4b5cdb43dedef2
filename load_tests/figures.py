"""The arithmetic of latencies and throughput. Plain numbers in and out; None where there is nothing to say."""

from __future__ import annotations

import bisect
import itertools
import math
import statistics
from collections.abc import Sequence

from load_tests.arrivals import Window

_POINTS = 200


def quantile(values: Sequence[float], share: float) -> float | None:
    """The least value that at least that share of the values does not exceed; None of none."""
    return sorted(values)[max(math.ceil(share * len(values)) - 1, 0)] if values else None


def quantiles(values: Sequence[float]) -> dict[str, float | None]:
    return {
        "p50": quantile(values, 0.5),
        "p90": quantile(values, 0.9),
        "p99": quantile(values, 0.99),
        "max": max(values, default=None),
    }


def throughput(ends: Sequence[float], window: Window, weights: Sequence[float] | None = None) -> float:
    """What ends in a second of the window: the slope of the straight line through the running sum.

    Requests that share a batch end together. A plain count depends on where the window cuts such bursts, the slope
    hardly does; over a window that ends nothing it is 0, and a server that stops half-way is not forgiven for it.

    Args:
        ends: seconds, in any order.
        weights: of each; 1 where there are none.
    """
    pairs = sorted(zip(ends, weights if weights is not None else itertools.repeat(1.0), strict=weights is not None))
    times = [end for end, _ in pairs]
    sums = [0.0, *itertools.accumulate(weight for _, weight in pairs)]
    grid = [window.start + window.seconds * index / _POINTS for index in range(_POINTS + 1)]
    return statistics.linear_regression(grid, [sums[bisect.bisect_right(times, at)] for at in grid]).slope


def settled_after(abnormal: Sequence[tuple[float, bool]], *, tolerated: float = 0.05) -> float | None:
    """The earliest of the times from which on no more than a tolerated share is abnormal; None where that never comes.

    Args:
        abnormal: pairs of a time and whether what happened then was abnormal.
    """
    ordered = sorted(abnormal)
    found, bad = None, 0
    for count, (at, is_abnormal) in enumerate(reversed(ordered), start=1):
        bad += is_abnormal
        if not is_abnormal and bad <= tolerated * count:
            found = at
    return found
