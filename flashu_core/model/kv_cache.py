"""Keys and values of sequences of equal length, for a stack of layers.

A pass writes beyond the cache's end and attends to everything up to what it wrote. The caller then keeps the new
positions (`keep`, as prefill and decoding do) or lets the next pass overwrite them (as every denoising step does).
Layers after a drop of tokens hold fewer of the positions.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class KeyValueCache:
    """Keys and values of `rows` sequences in every layer, in buffers of a fixed capacity.

    Attributes:
        keys, values: for each layer (rows, key-value heads, the layer's capacity, head width).
        length: positions kept so far, including those dropped in some layers; the same for every row.
        dropped: for each layer, how many of those positions it does not hold.
    """

    __slots__ = ("dropped", "keys", "length", "values")

    def __init__(self, keys: Sequence[Tensor], values: Sequence[Tensor]) -> None:
        self.keys = list(keys)
        self.values = list(values)
        self.length = 0
        self.dropped = [0] * len(self.keys)

    @classmethod
    def empty(
        cls,
        *,
        layers: int,
        rows: int,
        heads: int,
        capacity: int | Sequence[int],
        head_size: int,
        dtype: torch.dtype,
        device: torch.device,
    ) -> KeyValueCache:
        """An empty cache with one capacity for all layers, or one for each; memory is not initialised."""
        capacities = [capacity] * layers if isinstance(capacity, int) else capacity

        def buffers() -> list[Tensor]:
            return [
                torch.empty((rows, heads, maximum, head_size), dtype=dtype, device=device) for maximum in capacities
            ]

        return cls(buffers(), buffers())

    @property
    def rows(self) -> int:
        """Sequences in this cache."""
        return self.keys[0].shape[0]

    @property
    def nbytes(self) -> int:
        """Bytes of all layers."""
        return sum(tensor.nbytes for tensor in (*self.keys, *self.values))

    @property
    def capacity(self) -> int:
        """Positions that fit into the first layer."""
        return self.keys[0].shape[2]

    def extend(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Writes (rows, heads, L, head width) after the kept positions of one layer.

        Returns:
            Views of that layer's keys and values, (rows, heads, held + L, head width).
        """
        start = self.length - self.dropped[layer]
        end = start + keys.shape[2]
        self.keys[layer][:, :, start:end] = keys
        self.values[layer][:, :, start:end] = values
        return self.keys[layer][:, :, :end], self.values[layer][:, :, :end]

    def keep(self, positions: int) -> None:
        """Keeps the `positions` written last; every layer must have written them."""
        self.length += positions

    def drop(self, layer: int, positions: int) -> None:
        """Records that this layer and those after it lack `positions` of the positions about to be kept."""
        for index in range(layer, len(self.dropped)):
            self.dropped[index] += positions

    def take(self, prefix: KeyValueCache) -> None:
        """Replaces the content of every row by a copy of a one-row cache."""
        for layer in range(len(self.keys)):
            self.keys[layer][:, :, : prefix.length] = prefix.keys[layer][:, :, : prefix.length]
            self.values[layer][:, :, : prefix.length] = prefix.values[layer][:, :, : prefix.length]
        self.length = prefix.length

    def fork(self, *, rows: int, capacity: int | Sequence[int]) -> KeyValueCache:
        """A copy of a one-row cache for `rows` sequences, with a total capacity of `capacity` positions."""
        like = self.keys[0]
        copy = KeyValueCache.empty(
            layers=len(self.keys),
            rows=rows,
            heads=like.shape[1],
            capacity=capacity,
            head_size=like.shape[3],
            dtype=like.dtype,
            device=like.device,
        )
        copy.take(self)
        return copy
