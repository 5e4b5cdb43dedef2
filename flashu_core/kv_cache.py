"""Keys and values of sequences that share a length, one buffer for a stack of layers.

A pass writes beyond the cache's end and attends to everything up to what it wrote; the caller then keeps the new
positions (`keep`, as prefill and decoding do) or leaves them to be overwritten (as every evaluation of an image block
does). Knows no model, no request and no attention kernel.
"""

from __future__ import annotations

import torch
from torch import Tensor


class KeyValueCache:
    """Room for `capacity` positions of `rows` sequences in every layer.

    Attributes:
        keys, values: (layers, rows, key-value heads, capacity, head width).
        length: positions kept so far, the same for every row.
    """

    __slots__ = ("keys", "length", "values")

    def __init__(self, keys: Tensor, values: Tensor, length: int = 0) -> None:
        self.keys = keys
        self.values = values
        self.length = length

    @classmethod
    def empty(
        cls,
        *,
        layers: int,
        rows: int,
        heads: int,
        capacity: int,
        head_size: int,
        dtype: torch.dtype,
        device: torch.device,
    ) -> KeyValueCache:
        """An empty cache; memory is not initialised."""
        shape = (layers, rows, heads, capacity, head_size)
        return cls(torch.empty(shape, dtype=dtype, device=device), torch.empty(shape, dtype=dtype, device=device))

    @property
    def rows(self) -> int:
        """Sequences in this cache."""
        return self.keys.shape[1]

    @property
    def capacity(self) -> int:
        """Positions there is room for."""
        return self.keys.shape[3]

    def extend(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Writes (rows, heads, L, head width) after the kept positions of one layer.

        Returns:
            Views of that layer's keys and values, (rows, heads, length + L, head width).
        """
        end = self.length + keys.shape[2]
        self.keys[layer, :, :, self.length : end] = keys
        self.values[layer, :, :, self.length : end] = values
        return self.keys[layer, :, :, :end], self.values[layer, :, :, :end]

    def keep(self, positions: int) -> None:
        """Keeps the `positions` written last; every layer must have written them."""
        self.length += positions

    def fork(self, *, rows: int, capacity: int) -> KeyValueCache:
        """A copy of a one-row cache for `rows` sequences with room for `capacity` positions in all."""
        layers, _, heads, _, head_size = self.keys.shape
        copy = KeyValueCache.empty(
            layers=layers,
            rows=rows,
            heads=heads,
            capacity=capacity,
            head_size=head_size,
            dtype=self.keys.dtype,
            device=self.keys.device,
        )
        copy.keys[:, :, :, : self.length] = self.keys[:, :, :, : self.length]
        copy.values[:, :, :, : self.length] = self.values[:, :, :, : self.length]
        copy.length = self.length
        return copy
