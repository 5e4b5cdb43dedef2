"""What the renderer knows of every image token: the figure under it, or the background, and the colour.

Read off a middle layer while training and dropped after it, they teach the model what a picture is made of and, from
noise, what its text asks for: the idea of REPA (arXiv 2410.06940), with true labels for another model's features.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from flashu_core.model.showo2 import Showo2
from shapes.land.painting import BACKGROUNDS, COLOURS
from shapes.land.scenes import NAMES
from shapes.land.things import Scene

CONTENTS = len(NAMES) + len(BACKGROUNDS)
TINTS = len(COLOURS) + 1
_LEAST_COVER = 0.15  # of a token, by the box of a thing


def token_labels(scenes: Sequence[Scene], grid: int) -> Tensor:
    """Contents and tints of the tokens of square pictures, uint8 (scenes, grid * grid, 2)."""
    labels = torch.zeros(len(scenes), grid, grid, 2, dtype=torch.uint8)
    names, colours, backgrounds = list(NAMES), list(COLOURS), list(BACKGROUNDS)
    edges = torch.arange(grid + 1) / grid
    for row, scene in enumerate(scenes):
        labels[row, ..., 0] = len(names) + backgrounds.index(scene.background)
        best = torch.full((grid, grid), _LEAST_COVER)
        for thing in scene.things:
            box = thing.box
            across = (edges[1:].clamp(max=box.right) - edges[:-1].clamp(min=box.left)).clamp(min=0)
            down = (edges[1:].clamp(max=box.bottom) - edges[:-1].clamp(min=box.top)).clamp(min=0)
            cover = down[:, None] * across * grid * grid
            here = cover > best
            best = torch.where(here, cover, best)
            labels[row][here] = torch.tensor(
                [names.index(thing.figure), 1 + colours.index(thing.colour)], dtype=torch.uint8
            )
    return labels.flatten(1, 2)


class Probe(nn.Module):
    """Reads contents and tints off the stream that enters one of the backbone's layers."""

    def __init__(self, model: Showo2, layer: int) -> None:
        super().__init__()
        self.read = nn.Linear(model.config.backbone.hidden_size, CONTENTS + TINTS)
        self._stream: Tensor | None = None
        model.backbone.layers[layer].get_submodule("input_layernorm").register_forward_pre_hook(self._keep)

    def _keep(self, _: nn.Module, inputs: tuple[Tensor]) -> None:
        self._stream = inputs[0]

    def stream(self) -> Tensor:
        """What entered the layer in the last forward.

        Raises:
            RuntimeError: there was none since it was last taken.
        """
        stream, self._stream = self._stream, None
        if stream is None:
            raise RuntimeError("the model has not run since the stream was last taken")
        return stream

    def loss(self, tokens: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropy of both labels (B, N, 2) by the streams of image tokens (B, N, width)."""
        scores = self.read(tokens).float().flatten(0, 1)
        wanted = labels.flatten(0, 1).long()
        return functional.cross_entropy(scores[:, :CONTENTS], wanted[:, 0]) + functional.cross_entropy(
            scores[:, CONTENTS:], wanted[:, 1]
        )
