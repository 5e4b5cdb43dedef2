"""What a scene of the land is made of: things with a figure, colour, size and place, and how they lie to each other.

Places are shares of the picture, x to the right and y downwards, so "above" means a smaller y.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Literal, get_args

from shapes.land.figures import FIGURES, Ellipse
from shapes.land.painting import BACKGROUNDS, COLOURS, Placed

Size = Literal["small", "medium", "large"]
Relation = Literal["left of", "right of", "above", "below", "on", "under"]
Region = Literal["left", "right", "top", "bottom", "centre"]

SIZES: tuple[Size, ...] = get_args(Size)
RELATIONS: tuple[Relation, ...] = get_args(Relation)
REGIONS: tuple[Region, ...] = get_args(Region)
# Half of a figure's square, as a share of the picture.
EXTENTS: Mapping[Size, float] = MappingProxyType({"small": 0.09, "medium": 0.135, "large": 0.21})
OPPOSITES: Mapping[Relation, Relation] = MappingProxyType(
    {"left of": "right of", "right of": "left of", "above": "below", "below": "above", "on": "under", "under": "on"}
)
MAX_THINGS = 6
MARGIN = 0.02
GAP = 0.025
TOUCH = 0.03  # vertical distance up to which one thing is on another
CLEAR_SEPARATION = 0.2
CLEAR_RATIO = 1.3
CENTRE_OFFSET = 0.08
SIDE_OFFSET = 0.15


@dataclass(frozen=True, slots=True)
class Box:
    """Left, top, right and bottom edges."""

    left: float
    top: float
    right: float
    bottom: float


@cache
def box_of(figure: str) -> Box:
    """What a figure fills of its square from -1 to 1."""
    xs: list[float] = []
    ys: list[float] = []
    for part in FIGURES[figure]:
        if isinstance(part, Ellipse):
            xs += [part.x - part.width, part.x + part.width]
            ys += [part.y - part.height, part.y + part.height]
        else:
            xs += [x for x, _ in part.points]
            ys += [y for _, y in part.points]
    return Box(min(xs), min(ys), max(xs), max(ys))


@dataclass(frozen=True, kw_only=True, slots=True)
class Thing:
    """One thing; `x` and `y` are the centre of its figure's square.

    Raises:
        ValueError: an unknown figure, colour or size, or a place where it would leave the picture's margin.
    """

    figure: str
    colour: str
    size: Size = "medium"
    x: float = 0.5
    y: float = 0.5

    def __post_init__(self) -> None:
        if self.figure not in FIGURES or self.colour not in COLOURS or self.size not in EXTENTS:
            raise ValueError(f"unknown figure, colour or size: {self.figure!r}, {self.colour!r}, {self.size!r}")
        box, least = self.box, MARGIN - 1e-9
        if not (box.left >= least and box.top >= least and box.right <= 1 - least and box.bottom <= 1 - least):
            raise ValueError(f"a {self.size} {self.figure} at ({self.x:g}, {self.y:g}) leaves the picture's margin")

    @property
    def box(self) -> Box:
        """What it fills of the picture."""
        own, extent = box_of(self.figure), EXTENTS[self.size]
        return Box(
            self.x + extent * own.left,
            self.y + extent * own.top,
            self.x + extent * own.right,
            self.y + extent * own.bottom,
        )

    @property
    def kind(self) -> tuple[str, str]:
        """Colour and figure."""
        return self.colour, self.figure

    def placed(self) -> Placed:
        """As it is painted."""
        return Placed(figure=self.figure, colour=self.colour, x=self.x, y=self.y, extent=EXTENTS[self.size])


def on(a: Thing, b: Thing) -> bool:
    """Whether `a` stands on `b`: its lower edge at the other's upper one, its centre within the other's width."""
    upper, lower = a.box, b.box
    return abs(upper.bottom - lower.top) <= TOUCH and lower.left <= a.x <= lower.right


def apart(a: Thing, b: Thing) -> bool:
    """Whether two things keep the gap of every scene, or one stands on the other."""
    one, other = a.box, b.box
    across = max(one.left - other.right, other.left - one.right)
    down = max(one.top - other.bottom, other.top - one.bottom)
    return max(across, down) >= GAP - 1e-9 or on(a, b) or on(b, a)


@dataclass(frozen=True, kw_only=True, slots=True)
class Scene:
    """One to six things that keep apart, before a background.

    Raises:
        ValueError: another number of things, an unknown background, or things that come too close.
    """

    things: tuple[Thing, ...]
    background: str = "plain"

    def __post_init__(self) -> None:
        if not 1 <= len(self.things) <= MAX_THINGS:
            raise ValueError(f"a scene has 1 to {MAX_THINGS} things, not {len(self.things)}")
        if self.background not in BACKGROUNDS:
            raise ValueError(f"unknown background: {self.background!r}")
        for position, thing in enumerate(self.things):
            for other in self.things[:position]:
                if not apart(thing, other):
                    raise ValueError(f"things come too close: {thing}, {other}")


def relation(a: Thing, b: Thing) -> Relation | None:
    """How `a` lies to `b`, or None where no single word is clearly right."""
    if on(a, b) or on(b, a):
        return "on" if on(a, b) else "under"
    across, down = a.x - b.x, a.y - b.y
    if abs(across) >= CLEAR_SEPARATION and abs(across) > CLEAR_RATIO * abs(down):
        return "left of" if across < 0 else "right of"
    if abs(down) >= CLEAR_SEPARATION and abs(down) > CLEAR_RATIO * abs(across):
        return "above" if down < 0 else "below"
    return None


def between(a: Thing, b: Thing, c: Thing) -> bool:
    """Whether `a` lies between `b` and `c`, side by side with both."""
    return {relation(a, b), relation(a, c)} == {"left of", "right of"}


def region(thing: Thing) -> Region | None:
    """The part of the picture a thing is in, or None where no single word is clearly right."""
    across, down = thing.x - 0.5, thing.y - 0.5
    if max(abs(across), abs(down)) <= CENTRE_OFFSET:
        return "centre"
    if abs(across) >= SIDE_OFFSET and abs(across) > CLEAR_RATIO * abs(down):
        return "left" if across < 0 else "right"
    if abs(down) >= SIDE_OFFSET and abs(down) > CLEAR_RATIO * abs(across):
        return "top" if down < 0 else "bottom"
    return None
