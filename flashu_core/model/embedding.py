"""`nn.Embedding` that is fast to construct on the meta device."""

from __future__ import annotations

from torch import nn


class Embedding(nn.Embedding):
    """`nn.Embedding` without initialisation on the meta device.

    There torch's own imports its compiler for the initialisation: one second and 800 modules at the start of every
    process that loads a model.
    """

    def reset_parameters(self) -> None:
        if not self.weight.is_meta:
            super().reset_parameters()
