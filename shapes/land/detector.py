"""A small detector of the land's things, as GenEval judges pictures by one: what is there, in which colour, and where.

A heat map of centres for every figure (as CenterNet has, arXiv 1904.07850) beside colours, offsets and extents, on a
grid of a quarter of the resolution. `train_detector` trains it on rendered scenes and measures how often it is right.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from shapes.land.painting import COLOURS
from shapes.land.scenes import NAMES
from shapes.land.things import EXTENTS

PIXELS = 96  # every picture is looked at in this size
STRIDE = 4
FEATURES = 96
WEIGHTS = Path(__file__).with_name("detector.safetensors")
_PALETTE = tuple(COLOURS)
_SURE = 0.4
_EXTENT = EXTENTS["medium"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A thing that was found; places and extents are shares of the picture, `score` is from 0 to 1."""

    figure: str
    colour: str
    x: float
    y: float
    extent: float
    score: float


class _Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.first_norm = nn.BatchNorm2d(width)
        self.second = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.second_norm = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        inner = functional.relu(self.first_norm(self.first(x)))
        return functional.relu(x + self.second_norm(self.second(inner)))


def _down(narrow: int, wide: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(narrow, wide, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(wide), nn.ReLU())


class Detector(nn.Module):
    """Pictures (B, 3, 96, 96) in [-1, 1] to maps (B, figures + colours + 3, 24, 24)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(_down(3, 24), _down(24, 40), _Block(40))
        self.middle = nn.Sequential(_down(40, 64), _Block(64), _Block(64))
        self.deep = nn.Sequential(_down(64, FEATURES), _Block(FEATURES), _Block(FEATURES))
        self.from_deep = nn.Conv2d(FEATURES, 64, 1)
        self.from_middle = nn.Conv2d(64, 40, 1)
        self.join_middle, self.join_fine = _Block(64), _Block(40)
        self.maps = nn.Sequential(
            nn.Conv2d(40, 96, 3, padding=1), nn.ReLU(), nn.Conv2d(96, len(NAMES) + len(_PALETTE) + 3, 1)
        )
        with torch.no_grad():
            # Nearly every cell is empty: start from that.
            self.maps[-1].get_parameter("bias")[: len(NAMES)] = -4.6

    def features(self, images: Tensor) -> Tensor:
        """What a picture holds, wherever it is: (B, FEATURES) in front of the maps, averaged over places."""
        deep: Tensor = self.deep(self.middle(self.stem(images)))
        return deep.mean(dim=(2, 3))

    def forward(self, images: Tensor) -> Tensor:
        fine = self.stem(images)
        middle = self.middle(fine)
        deep = self.deep(middle)
        middle = self.join_middle(middle + functional.interpolate(self.from_deep(deep), scale_factor=2.0))
        fine = self.join_fine(fine + functional.interpolate(self.from_middle(middle), scale_factor=2.0))
        maps: Tensor = self.maps(fine)
        return maps


@cache
def trained() -> Detector:
    """The detector that the grades are made with."""
    detector = Detector()
    detector.load_state_dict({name: tensor.float() for name, tensor in load_file(WEIGHTS).items()})
    return detector.eval().requires_grad_(False)


def tensor_of(images: Sequence[NDArray[np.uint8]]) -> Tensor:
    """Pictures, uint8 (height, width, 3), as the detector takes them."""
    sized = [
        image
        if image.shape[:2] == (PIXELS, PIXELS)
        else np.asarray(Image.fromarray(image).resize((PIXELS, PIXELS), Image.Resampling.LANCZOS))
        for image in images
    ]
    return torch.from_numpy(np.stack(sized)).permute(0, 3, 1, 2).float().div(127.5).sub(1)


@torch.no_grad()
def find(images: Sequence[NDArray[np.uint8]], detector: Detector | None = None) -> list[list[Found]]:
    """The things in pictures, uint8 (height, width, 3) each, the surest first."""
    return decode((detector or trained())(tensor_of(images)))


def decode(maps: Tensor) -> list[list[Found]]:
    """The things that maps tell of: where the heat is highest, and is enough."""
    heat = maps[:, : len(NAMES)].sigmoid()
    best, figures = heat.max(dim=1)
    # A centre near the edges of its cell shares its heat with the cells next to it: the best square of four counts.
    squares = functional.avg_pool2d(heat, 2, stride=1, padding=1, divisor_override=1)
    shared = functional.max_pool2d(squares, 2, stride=1).gather(1, figures[:, None])[:, 0].clamp(max=1.0)
    peaks = (best == functional.max_pool2d(best, 3, stride=1, padding=1)) & (shared > _SURE)
    found: list[list[Found]] = [[] for _ in range(len(maps))]
    side = maps.shape[-1]
    for row, down, across in peaks.nonzero().tolist():
        cell = maps[row, :, down, across]
        x, y, extent = cell[-3:].tolist()
        found[row].append(
            Found(
                figure=NAMES[figures[row, down, across]],
                colour=_PALETTE[int(cell[len(NAMES) : -3].argmax())],
                x=(across + 0.5 + x) / side,
                y=(down + 0.5 + y) / side,
                extent=_EXTENT * float(np.exp(extent)),
                score=float(shared[row, down, across]),
            )
        )
    return [sorted(each, key=lambda one: -one.score) for each in found]
