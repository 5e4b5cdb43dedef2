"""What a scene is made of: things with a form, colour, size and place, and the relations between them.

Places are in unit coordinates with x to the right and y downwards, so "above" means a smaller y.  This
module knows nothing of how scenes are drawn at random (`scene`), rendered, described or graded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, TypeAlias, get_args

Form = Literal["circle", "square", "triangle"]
Colour = Literal["red", "green", "blue", "yellow", "purple", "cyan"]
Size = Literal["small", "large"]
Background = Literal["white", "grey", "black"]
Relation = Literal["left of", "right of", "above", "below"]
Region = Literal["left", "right", "top", "bottom", "centre"]
Kind: TypeAlias = tuple[Colour, Form]
Rgb: TypeAlias = tuple[int, int, int]

FORMS: tuple[Form, ...] = get_args(Form)
COLOURS: tuple[Colour, ...] = get_args(Colour)
SIZES: tuple[Size, ...] = get_args(Size)
BACKGROUNDS: tuple[Background, ...] = get_args(Background)
RELATIONS: tuple[Relation, ...] = get_args(Relation)
REGIONS: tuple[Region, ...] = get_args(Region)
KINDS: tuple[Kind, ...] = tuple((colour, form) for colour in COLOURS for form in FORMS)

# Hues lie at least 48 degrees apart, and each colour's brightness is far from some but never from all
# backgrounds; the saturation is what makes a thing stand out from every achromatic background.
COLOUR_RGB: Mapping[Colour, Rgb] = MappingProxyType(
    {
        "red": (220, 40, 40),
        "green": (40, 175, 60),
        "blue": (45, 65, 225),
        "yellow": (240, 205, 40),
        "purple": (180, 50, 205),
        "cyan": (40, 205, 215),
    }
)
BACKGROUND_RGB: Mapping[Background, Rgb] = MappingProxyType(
    {"white": (248, 248, 248), "grey": (128, 128, 128), "black": (12, 12, 12)}
)
# Half-widths: 25 and 14 of 64 pixels across.
EXTENTS: Mapping[Size, float] = MappingProxyType({"large": 0.195, "small": 0.11})
OPPOSITES: Mapping[Relation, Relation] = MappingProxyType(
    {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}
)

MARGIN = 0.03
GAP = 0.03
MAX_THINGS = 4
CLEAR_SEPARATION = 0.22
CLEAR_RATIO = 1.3
CENTRE_OFFSET = 0.08
SIDE_OFFSET = 0.15
_ROUNDING = 1e-9


@dataclass(frozen=True, kw_only=True, slots=True)
class Thing:
    """One object; `x` and `y` are the centre of its bounding box in unit coordinates.

    Raises ValueError for an unknown form, colour or size, or a place not fully inside the picture.
    """

    form: Form
    colour: Colour
    size: Size
    x: float
    y: float

    def __post_init__(self) -> None:
        if self.form not in FORMS or self.colour not in COLOUR_RGB or self.size not in EXTENTS:
            raise ValueError(f"unknown form, colour or size: {self.form!r}, {self.colour!r}, {self.size!r}")
        inset = EXTENTS[self.size] + MARGIN - _ROUNDING
        # Written so that a NaN fails too.
        if not (inset <= self.x <= 1.0 - inset and inset <= self.y <= 1.0 - inset):
            raise ValueError(f"a {self.size} thing at ({self.x}, {self.y}) leaves the picture's margin")

    @property
    def extent(self) -> float:
        """Half the width (and height) of the thing in unit coordinates."""
        return EXTENTS[self.size]

    @property
    def kind(self) -> Kind:
        """The colour and form together: what makes two things look alike, their size aside."""
        return self.colour, self.form


def apart(a: Thing, b: Thing) -> bool:
    """Whether the bounding boxes of two things keep the gap that every scene demands."""
    reach = EXTENTS[a.size] + EXTENTS[b.size] + GAP - _ROUNDING
    return abs(a.x - b.x) >= reach or abs(a.y - b.y) >= reach


@dataclass(frozen=True, kw_only=True, slots=True)
class Scene:
    """One to four things that keep apart, before an achromatic background.

    Raises ValueError for another number of things, an unknown background or things that come too close.
    """

    things: tuple[Thing, ...]
    background: Background

    def __post_init__(self) -> None:
        if not 1 <= len(self.things) <= MAX_THINGS:
            raise ValueError(f"a scene has 1 to {MAX_THINGS} things, not {len(self.things)}")
        if self.background not in BACKGROUND_RGB:
            raise ValueError(f"unknown background: {self.background!r}")
        for position, thing in enumerate(self.things):
            for other in self.things[:position]:
                if not apart(thing, other):
                    raise ValueError(f"things come too close: {thing}, {other}")


def relation(a: Thing, b: Thing) -> Relation | None:
    """How `a` lies to `b`, or None where no single word is clearly right."""
    across, down = a.x - b.x, a.y - b.y
    if abs(across) >= CLEAR_SEPARATION and abs(across) > CLEAR_RATIO * abs(down):
        return "left of" if across < 0 else "right of"
    if abs(down) >= CLEAR_SEPARATION and abs(down) > CLEAR_RATIO * abs(across):
        return "above" if down < 0 else "below"
    return None


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
