"""Linear layers for few rows on a CPU, at the bandwidth of its memory.

A decoded token is one row, and its cost is reading the weights; MKL does that with one thread, far below the memory's
bandwidth. A batched product over parts of the weights uses all threads and is about three times as fast. Many rows,
other types and other devices use `functional.linear`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

FEW_ROWS = 8
# More parts than a common machine has threads, few enough for narrow layers; the exact number hardly matters.
_PARTS = 16
# Up to this many rows, a product over all columns (zeros for the pruned ones) is faster than MKL on a strided slice.
_PADDED_ROWS = 2


def project(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`x @ weight.T + bias` for x (..., in) and weight (out, in): (..., out), up to rounding."""
    size, width = weight.shape
    rows = x.numel() // width
    if rows > FEW_ROWS or size % _PARTS or x.device.type != "cpu" or x.dtype != torch.float32:
        return functional.linear(x, weight, bias)
    parts = weight.unflatten(0, (_PARTS, size // _PARTS))  # (parts, out / parts, in)
    columns = x.reshape(rows, width).T.expand(_PARTS, width, rows)
    found = torch.bmm(parts, columns).view(size, rows).T.reshape(*x.shape[:-1], size)
    return found if bias is None else found + bias


def project_columns(x: Tensor, weight: Tensor, columns: slice | Tensor) -> Tensor:
    """`x @ weight[:, columns].T` for x (..., columns) and weight (out, in): (..., out)."""
    rows = x.numel() // x.shape[-1]
    if isinstance(columns, slice) and rows <= _PADDED_ROWS and x.device.type == "cpu":
        start, stop, _ = columns.indices(weight.shape[1])
        return project(functional.pad(x, (start, weight.shape[1] - stop)), weight)
    return functional.linear(x, weight[:, columns])


class Projection(nn.Linear):
    """A linear layer that is fast for few rows too."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's own name
        return project(input, self.weight, self.bias)
