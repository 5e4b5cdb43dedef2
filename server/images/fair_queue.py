"""What waits for one of a few workers, taken in turn by whom it is of: a client that sends much waits behind itself. It
knows owners and time, not what waits nor who the workers are."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator
from typing import Generic, TypeVar

_SLOW_S = 1.0  # an item that keeps a worker for longer is slow
_MEMORY_S = 60.0  # for which it is remembered who had something slow, and that there are others

T = TypeVar("T")


class FairQueue(Generic[T]):
    """Owners take turns, and each one's items are in the order in which they came.

    A turn is no longer than what a worker is given to do, which may be long: so one that had something slow of late
    may not keep all workers at once, where there are several, and where there have been other owners of late.

    Args:
        workers: how many take items.
        clock: seconds that only grow.
    """

    def __init__(self, workers: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._workers = workers
        self._clock = clock
        self._waiting: dict[str, deque[T]] = {}  # in the order of their turns
        self._taken: dict[T, tuple[str, float]] = {}  # and since when
        self._slow: dict[str, float] = {}  # until when they are remembered
        self._last = ("", -math.inf)  # who put something, and when
        self._other = ("", -math.inf)  # likewise, the last one who was not that owner

    def __len__(self) -> int:
        return sum(len(items) for items in self._waiting.values())

    def __iter__(self) -> Iterator[T]:
        for items in self._waiting.values():
            yield from items

    def of(self, owner: str) -> Collection[T]:
        """Items of an owner's that wait."""
        return self._waiting.get(owner, ())

    def is_alone(self, owner: str) -> bool:
        """Whether nobody else has put anything of late."""
        _, when = self._other if owner == self._last[0] else self._last
        return self._clock() - when > _MEMORY_S

    def put(self, item: T, owner: str) -> None:
        """Adds an item behind its owner's others."""
        if owner != self._last[0]:
            self._other = self._last
        self._last = owner, self._clock()
        self._waiting.setdefault(owner, deque()).append(item)

    def take(self) -> T | None:
        """The item whose turn it is, until `done` or `put_back` is called with it; None where none may be taken."""
        for owner, items in self._waiting.items():
            if self._may_take(owner):
                item = items.popleft()
                del self._waiting[owner]
                if items:
                    self._waiting[owner] = items  # behind the others
                self._taken[item] = owner, self._clock()
                return item
        return None

    def done(self, item: T) -> None:
        """A worker is free of what it took; nothing where that was put back."""
        if item not in self._taken:
            return
        owner, since = self._taken.pop(item)
        now = self._clock()
        if now - since > _SLOW_S:
            self._slow = {one: until for one, until in self._slow.items() if until > now}
            self._slow[owner] = now + _MEMORY_S

    def put_back(self, item: T) -> None:
        """What was taken waits again, before all others."""
        owner, _ = self._taken.pop(item)
        items = self._waiting.pop(owner, deque())
        items.appendleft(item)
        self._waiting = {owner: items, **self._waiting}

    def remove(self, item: T) -> None:
        """Takes out what waits, where it does."""
        for owner, items in self._waiting.items():
            if item in items:
                items.remove(item)
                if not items:
                    del self._waiting[owner]
                return

    def clear(self) -> None:
        """Takes out all that waits."""
        self._waiting.clear()

    def _may_take(self, owner: str) -> bool:
        since = [begun for one, begun in self._taken.values() if one == owner]
        if self._workers == 1 or len(since) < self._workers - 1 or self.is_alone(owner):
            return True
        now = self._clock()
        return self._slow.get(owner, 0.0) <= now and all(now - begun <= _SLOW_S for begun in since)
