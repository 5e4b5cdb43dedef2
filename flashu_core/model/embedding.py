"""A table of vectors, looked up by number. It differs from torch's own only in how it is made where there is no memory:
it knows nothing of tokens or positions."""

from __future__ import annotations

from torch import nn


class Embedding(nn.Embedding):
    """`nn.Embedding` that draws no numbers on the meta device.

    There torch's own draws none either, but imports its compiler to find that out: a second, and 800 modules in memory,
    at the start of every process that loads a model.
    """

    def reset_parameters(self) -> None:
        if not self.weight.is_meta:
            super().reset_parameters()
