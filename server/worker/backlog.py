"""When a machine that shares its time among requests comes to one more. Arithmetic only: it knows lengths of work and
places, no tasks and no clock."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

_ROUNDS = 20


class Part(NamedTuple):
    """A request ahead of a newcomer.

    Attributes:
        left: seconds of its work.
        share: of the machine, that it gets at most while others have work.
        fair: seconds that it gets while the newcomer gets all it needs, both with equal right.
    """

    left: float
    share: float
    fair: float = 0.0


def seconds_ahead(parts: Sequence[Part], within: float) -> float:
    """Seconds of work that run ahead of a newcomer who is to come to its turn within so many seconds.

    Requests advance side by side, so one that is much longer than the newcomer takes no more than its share of that
    time, and one of its own size all it needs. Where all of the time is taken so, no place becomes free before some of
    them end, and the result is about when that is: at least `within`, and never less than it will be.
    """
    ahead = sum(min(part.left, max(part.share * within, part.fair)) for part in parts)
    if ahead < within * (1 - 1e-9):
        return ahead
    ahead = sum(part.left for part in parts)
    for _ in range(_ROUNDS):
        less = sum(min(part.left, max(part.share * ahead, part.fair)) for part in parts)
        if less > 0.99 * ahead:
            break
        ahead = less
    return max(ahead, within)
