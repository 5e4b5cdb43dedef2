"""What a pass of the backbone may leave out, and what it tells: levers in, a trace out.

A lever says which neurons, layers and tokens run; why is not the model's to know.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import Tensor

# Neurons of one layer's FFN: a slice is a view of the weights, indices (kept,) are gathered, None is all of them.
Neurons = slice | Tensor | None


@dataclass(frozen=True, slots=True)
class Drop:
    """Image tokens that leave the pass.

    Attributes:
        layer: they are missing behind this layer, counted from 1.
        tokens: where the image tokens are in the pass.
        keep: how many of them stay: those with the smallest values.
    """

    layer: int
    tokens: slice
    keep: int


@dataclass(frozen=True, slots=True, eq=False)
class PassOptions:
    """What one pass of the backbone runs; by default everything.

    Attributes:
        neurons: of each layer's FFN; None is all of every layer.
        skipped: for each cache of the pass, the layers that leave its rows as they are; empty: none for any.
        measured: the positions over which each layer's similarity is measured; None measures nothing.
        drop: image tokens to drop; the pass must be of one row then.
        read: how many positions at the end are read of what comes out; the last layer only writes keys and values for
            those before them. None reads all. What is measured must be read.
    """

    neurons: Sequence[Neurons] | None = None
    skipped: Sequence[frozenset[int]] = ()
    measured: slice | None = None
    drop: Drop | None = None
    read: int | None = None


@dataclass(slots=True, eq=False)
class Trace:
    """What a pass found out.

    Attributes:
        similarity: for each layer the mean cosine of its input and output at the measured positions, (R,) float32.
        kept: positions of the pass that stayed, (kept,), where tokens were dropped.
    """

    similarity: list[Tensor] = field(default_factory=list)
    kept: Tensor | None = None


EVERYTHING = PassOptions()
