"""How much of what arrives at random a server takes that lets nobody wait for long: a birth-death chain. Bursts are
lost at any bounded queue, so at an offered load of exactly its capacity no such server completes all of it."""

from __future__ import annotations

from collections.abc import Sequence


def kept(arrivals: float, rates: Sequence[float]) -> float:
    """The share of Poisson arrivals that find a place.

    Args:
        arrivals: a second.
        rates: completed a second while one is inside, while two are, and so on; as many as there are places.
    """
    weight = total = 1.0
    for rate in rates:
        weight *= arrivals / rate
        total += weight
    return 1.0 - weight / total


def batch_rates(*, alone_s: float, capacity: float, batch: int, stay_s: float) -> list[float]:
    """Completed a second with one inside, with two, and so on, of a server that works on `batch` at once.

    A batch takes longer the more it holds, along a straight line from one alone to a full one; and an accepted request
    stays no longer than `stay_s`, which bounds how many are inside.

    Args:
        alone_s: seconds of one that runs alone.
        capacity: completed a second in full batches.
    """
    full_s = batch / capacity
    row_s = (full_s - alone_s) / (batch - 1) if batch > 1 else 0.0
    places = max(int(stay_s * capacity), 1)
    return [
        min(under_way / (alone_s + row_s * (under_way - 1)), capacity) if under_way < batch else capacity
        for under_way in range(1, places + 1)
    ]
