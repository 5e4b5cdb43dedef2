"""The share of Poisson arrivals that a server with a bounded queue accepts: a birth-death chain. A bounded queue loses
bursts, so no such server completes all of an offered load equal to its capacity."""

from __future__ import annotations

from collections.abc import Sequence


def kept(arrivals: float, rates: Sequence[float]) -> float:
    """The share of Poisson arrivals that is accepted.

    Args:
        arrivals: per second.
        rates: completions per second with one active request, with two, and so on, up to the maximum.
    """
    weight = total = 1.0
    for rate in rates:
        weight *= arrivals / rate
        total += weight
    return 1.0 - weight / total


def batch_rates(*, alone_s: float, capacity: float, batch: int, stay_s: float) -> list[float]:
    """Completions per second with one active request, with two, and so on, of a server with batches of up to `batch`.

    A batch's duration grows linearly from one request to a full batch; an accepted request stays at most `stay_s`
    seconds, which limits the number of active ones.

    Args:
        alone_s: seconds of a request that runs alone.
        capacity: completions per second in full batches.
    """
    full_s = batch / capacity
    row_s = (full_s - alone_s) / (batch - 1) if batch > 1 else 0.0
    maximum = max(int(stay_s * capacity), 1)
    return [
        min(active / (alone_s + row_s * (active - 1)), capacity) if active < batch else capacity
        for active in range(1, maximum + 1)
    ]
