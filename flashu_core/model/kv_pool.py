"""One block of memory for the keys and values of many sequences, so that their addresses never change.

A CUDA graph reads and writes the addresses it was captured with. Caches that are ranges of one pool differ only in
where they start, an integer in a tensor, so one graph serves them all.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from functools import partial

import torch

from flashu_core.model.kv_cache import KeyValueCache

# A pass may be padded to a multiple of this, so each sequence's range is longer by as much.
PADDING = 32


class KeyValuePool:
    """Keys and values of `positions` positions; caches take ranges and give them back when they are garbage-collected.

    Args:
        positions: capacity.
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
        self._free = [(0, positions)]  # ascending, adjacent ranges are merged

    def cache(self, rows: int, capacity: int | Sequence[int]) -> KeyValueCache:
        """An empty cache; outside the pool where no free range is long enough.

        Args:
            rows: sequences.
            capacity: positions of each sequence; where layers differ, all of them get the largest.
        """
        capacity = capacity if isinstance(capacity, int) else max(capacity)
        stride = capacity + PADDING
        start = self._take(rows * stride)
        if start is None:
            return self._outside(rows=rows, capacity=capacity)
        cache = PooledCache(self, start, rows, stride)
        weakref.finalize(cache, self._give_back, start, start + rows * stride).atexit = False
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
    """The same caches, checked to be ranges of a pool."""
    found = [cache for cache in caches if isinstance(cache, PooledCache)]
    if len(found) < len(caches):
        raise ValueError(f"{len(caches) - len(found)} of {len(caches)} caches are outside the pool")
    return found


class PooledCache(KeyValueCache):
    """A range of a pool; its rows follow one another.

    Attributes:
        pool: the pool it belongs to.
        starts: each row's first position in the pool.
    """

    def __init__(self, pool: KeyValuePool, start: int, rows: int, stride: int) -> None:
        layers, _, _, heads, size = pool.storage.shape
        own = pool.storage[:, :, start : start + rows * stride].view(layers, 2, rows, stride, heads, size)
        keys, values = own.transpose(3, 4).unbind(1)
        super().__init__(list(keys), list(values))
        self.pool = pool
        self.starts = [start + row * stride for row in range(rows)]
        self._own = own

    @property
    def held(self) -> torch.Tensor:
        """The kept positions, (layers, 2, rows, length, key-value heads, head width)."""
        return self._own[:, :, :, : self.length]

    def take(self, prefix: KeyValueCache) -> None:
        """As `KeyValueCache.take`, in one copy where the prefix is in the same pool."""
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
