"""One block of memory for the keys and values of many sequences, so that their addresses never change.

A CUDA graph reads and writes the addresses it was captured with. Caches that are ranges of one pool are told apart by
where they start, which is a number in a tensor: one graph serves them all. Knows no model and no request.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from functools import partial

import torch

from flashu_core.model.kv_cache import KeyValueCache

# A pass may be padded to a multiple of this, so each sequence has room for as much behind its end.
PADDING = 32


class KeyValuePool:
    """Positions for `layers` layers; caches take ranges of it and give them back when they are collected.

    Args:
        positions: how many there are in all.
        layers, heads, head_size, dtype, device: of the keys, and of the values.

    Attributes:
        storage: (layers, 2, positions, key-value heads, head width); keys, then values.
    """

    def __init__(
        self, *, positions: int, layers: int, heads: int, head_size: int, dtype: torch.dtype, device: torch.device
    ) -> None:
        self.storage = torch.zeros(layers, 2, positions, heads, head_size, dtype=dtype, device=device)
        self._outside = partial(
            KeyValueCache.empty, layers=layers, heads=heads, head_size=head_size, dtype=dtype, device=device
        )
        self._free = [(0, positions)]  # ascending, none touches the next

    def cache(self, rows: int, capacity: int | Sequence[int]) -> KeyValueCache:
        """An empty cache; outside the pool where that has no range left that is long enough.

        Args:
            rows: sequences.
            capacity: positions of each sequence; of several for the layers, all layers get the largest.
        """
        capacity = capacity if isinstance(capacity, int) else max(capacity)
        room = capacity + PADDING
        start = self._take(rows * room)
        if start is None:
            return self._outside(rows=rows, capacity=capacity)
        cache = PooledCache(self, start, rows, room)
        weakref.finalize(cache, self._give_back, start, start + rows * room).atexit = False
        return cache

    def _take(self, positions: int) -> int | None:
        for index, (start, end) in enumerate(self._free):
            if end - start >= positions:
                self._free[index : index + 1] = [(start + positions, end)] if end - start > positions else []
                return start
        return None

    def _give_back(self, start: int, end: int) -> None:
        merged: list[tuple[int, int]] = []
        for one in sorted([*self._free, (start, end)]):
            if merged and merged[-1][1] == one[0]:
                merged[-1] = (merged[-1][0], one[1])
            else:
                merged.append(one)
        self._free = merged


def pooled(caches: Sequence[KeyValueCache]) -> Sequence[PooledCache]:
    """The same caches, all of which must be ranges of a pool."""
    found = [cache for cache in caches if isinstance(cache, PooledCache)]
    if len(found) < len(caches):
        raise ValueError(f"{len(caches) - len(found)} of {len(caches)} caches are outside the pool")
    return found


class PooledCache(KeyValueCache):
    """A range of a pool, whose rows lie one after the other.

    Attributes:
        pool: whose range it is.
        starts: of each row, its first position in the pool.
    """

    def __init__(self, pool: KeyValuePool, start: int, rows: int, room: int) -> None:
        layers, _, _, heads, size = pool.storage.shape
        own = pool.storage[:, :, start : start + rows * room].view(layers, 2, rows, room, heads, size)
        keys, values = own.transpose(3, 4).unbind(1)
        super().__init__(list(keys), list(values))
        self.pool = pool
        self.starts = [start + row * room for row in range(rows)]
        self._own = own

    @property
    def held(self) -> torch.Tensor:
        """What is kept, (layers, 2, rows, length, key-value heads, head width)."""
        return self._own[:, :, :, : self.length]

    def take(self, prefix: KeyValueCache) -> None:
        """As `KeyValueCache.take`, in one copy where the prefix is of the same pool."""
        if isinstance(prefix, PooledCache):
            self._own[:, :, :, : prefix.length] = prefix.held
            self.length = prefix.length
        else:
            super().take(prefix)

    def fork(self, *, rows: int, capacity: int | Sequence[int]) -> KeyValueCache:
        """As `KeyValueCache.fork`, in the same pool."""
        copy = self.pool.cache(rows, capacity)
        copy.take(self)
        return copy
