"""Options of one pass of the backbone (which neurons, layers and tokens run) and its trace (what it measured)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import Tensor

# Neurons of one layer's FFN: a slice (a view of the weights), indices (kept,) to gather, or None for all.
Neurons = slice | Tensor | None


@dataclass(frozen=True, slots=True)
class Drop:
    """Image tokens to drop after a layer.

    Attributes:
        layer: the last layer that runs them, counted from 1.
        tokens: positions of the image tokens in the pass.
        keep: how many of them stay: those with the smallest value norms.
    """

    layer: int
    tokens: slice
    keep: int


@dataclass(frozen=True, slots=True, eq=False)
class PassOptions:
    """What one pass of the backbone runs; by default everything.

    Attributes:
        neurons: which neurons of each layer's FFN run; None runs all.
        skipped: for each cache of the pass, the layers that its rows skip; empty skips none.
        measured: positions over which each layer's similarity is measured; None measures nothing.
        drop: image tokens to drop; the pass must have one row then.
        read: how many of the last positions are returned; for those before them the last layer only writes keys and
            values. None returns all. Measured positions must be returned.
    """

    neurons: Sequence[Neurons] | None = None
    skipped: Sequence[frozenset[int]] = ()
    measured: slice | None = None
    drop: Drop | None = None
    read: int | None = None


@dataclass(slots=True, eq=False)
class Trace:
    """Measurements of a pass.

    Attributes:
        similarity: for each layer the mean cosine of its input and output at the measured positions, (R,) float32.
        kept: positions of the pass that were kept, (kept,), where tokens were dropped.
    """

    similarity: list[Tensor] = field(default_factory=list)
    kept: Tensor | None = None


EVERYTHING = PassOptions()
