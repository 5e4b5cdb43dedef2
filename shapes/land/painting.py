"""Paints scenes of the land at any size: parts are drawn on a canvas of four times the size, which is then reduced, so
that edges are smooth. No random choices: the same scene is always the same picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from shapes.land.figures import FIGURES, WHITE, Ellipse, Paint, Part, Polygon, Rgb

MIN_PIXELS = 16
SUPERSAMPLING = 4
OUTLINE = 0.01  # of a figure, as a share of the picture
COLOURS: Mapping[str, Rgb] = MappingProxyType(
    {
        "red": (214, 48, 49),
        "orange": (240, 140, 40),
        "yellow": (245, 212, 60),
        "green": (50, 150, 70),
        "cyan": (50, 205, 210),
        "blue": (40, 80, 205),
        "purple": (140, 60, 170),
        "pink": (245, 150, 185),
        "black": (35, 35, 40),
        "white": (248, 248, 248),
    }
)
_ALIKE = 60  # sum of the differences of red, green and blue up to which two colours look the same
_NO_COLOUR: Rgb = (0, 0, 0)  # backgrounds have their own
_SKY, _NIGHT = (168, 212, 240), (28, 34, 72)
# Parts in a square from -1 to 1 that is the whole picture; the first covers it.
BACKGROUNDS: Mapping[str, tuple[Part, ...]] = MappingProxyType(
    {
        "plain": (Polygon(((-1, -1), (1, -1), (1, 1), (-1, 1)), (228, 226, 220)),),
        "day": (Polygon(((-1, -1), (1, -1), (1, 1), (-1, 1)), _SKY),),
        "night": (
            Polygon(((-1, -1), (1, -1), (1, 1), (-1, 1)), _NIGHT),
            *(
                Ellipse(x, y, 0.012, 0.012, WHITE)
                for x, y in ((-0.8, -0.85), (-0.35, -0.6), (0.05, -0.9), (0.5, -0.7), (0.85, -0.9), (0.75, -0.35))
            ),
        ),
        "sea": (
            Polygon(((-1, -1), (1, -1), (1, 1), (-1, 1)), _SKY),
            Polygon(((-1, 0.1), (1, 0.1), (1, 1), (-1, 1)), (70, 135, 185)),
            Polygon(((-1, 0.1), (1, 0.1), (1, 0.14), (-1, 0.14)), (120, 175, 210)),
        ),
        "meadow": (
            Polygon(((-1, -1), (1, -1), (1, 1), (-1, 1)), _SKY),
            Polygon(((-1, 0.25), (-0.3, 0.12), (0.4, 0.22), (1, 0.1), (1, 1), (-1, 1)), (140, 195, 110)),
        ),
        "snow": (
            Polygon(((-1, -1), (1, -1), (1, 1), (-1, 1)), (186, 200, 214)),
            Polygon(((-1, 0.2), (-0.2, 0.1), (0.5, 0.24), (1, 0.14), (1, 1), (-1, 1)), (240, 243, 247)),
        ),
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """A figure in a picture.

    Attributes:
        figure, colour: names in `FIGURES` and `COLOURS`.
        x, y: its centre as a share of the picture, from the left and from the top.
        extent: half its width, as a share of the picture.

    Raises:
        ValueError: a name is unknown, or nothing of it would be inside the picture.
    """

    figure: str
    colour: str
    x: float
    y: float
    extent: float

    def __post_init__(self) -> None:
        if self.figure not in FIGURES:
            raise ValueError(f"there is no figure {self.figure!r}; use one of: {', '.join(FIGURES)}")
        if self.colour not in COLOURS:
            raise ValueError(f"there is no colour {self.colour!r}; use one of: {', '.join(COLOURS)}")
        if not (0.0 <= self.x <= 1.0 and 0.0 <= self.y <= 1.0 and 0.0 < self.extent <= 0.5):
            raise ValueError(
                f"a figure at ({self.x:g}, {self.y:g}) of extent {self.extent:g} is not in the picture; its centre "
                "must be from 0 to 1, its extent above 0 and at most 0.5"
            )


def paint(things: Sequence[Placed], *, background: str = "plain", pixels: int = 128) -> NDArray[np.uint8]:
    """The picture, uint8 (pixels, pixels, 3); later things cover earlier ones.

    Raises:
        ValueError: the background is unknown, or the picture is too small.
    """
    if background not in BACKGROUNDS:
        raise ValueError(f"there is no background {background!r}; use one of: {', '.join(BACKGROUNDS)}")
    if pixels < MIN_PIXELS:
        raise ValueError(f"a picture needs at least {MIN_PIXELS} pixels a side, not {pixels}")
    side = pixels * SUPERSAMPLING
    canvas = Image.new("RGB", (side, side))
    draw_on = ImageDraw.Draw(canvas)
    for part in BACKGROUNDS[background]:
        _add(draw_on, part, shade(_NO_COLOUR, part.paint), x=side / 2, y=side / 2, scale=side / 2)
    for thing in things:
        colour = COLOURS[thing.colour]
        x, y, scale = thing.x * side, thing.y * side, thing.extent * side
        for part in FIGURES[thing.figure]:
            _add(draw_on, part, outline(colour), x=x, y=y, scale=scale, wider=OUTLINE * side)
        for part in FIGURES[thing.figure]:
            _add(draw_on, part, shade(colour, part.paint), x=x, y=y, scale=scale)
    return np.asarray(canvas.reduce(SUPERSAMPLING))


def outline(colour: Rgb) -> Rgb:
    """What a figure of that colour is edged with, so that it shows on every background: a dark one is edged lightly."""
    return _mixed(colour, (255, 255, 255), 0.5) if sum(colour) < 150 else _mixed(colour, (0, 0, 0), 0.6)


def shade(colour: Rgb, paint: Paint) -> Rgb:
    """What a part is painted with, on a figure of that colour."""
    if paint == "own":
        return colour
    if paint == "dark":
        return _mixed(colour, (0, 0, 0), 0.28)
    if paint == "light":
        return _mixed(colour, (255, 255, 255), 0.4)
    # A white ball's stripe would not show if it were white too.
    alike = sum(abs(own - other) for own, other in zip(colour, paint, strict=True)) < _ALIKE
    return _mixed(paint, (0, 0, 0), 0.28) if alike and sum(paint) > _ALIKE else paint


def _mixed(colour: Rgb, other: Rgb, share: float) -> Rgb:
    red, green, blue = (round(own + (theirs - own) * share) for own, theirs in zip(colour, other, strict=True))
    return red, green, blue


def _add(
    canvas: ImageDraw.ImageDraw, part: Part, fill: Rgb, *, x: float, y: float, scale: float, wider: float = 0.0
) -> None:
    if isinstance(part, Polygon):
        points = [(x + scale * across, y + scale * down) for across, down in part.points]
        canvas.polygon(points, fill=fill)
        if wider:
            canvas.line([*points, *points[:2]], fill=fill, width=round(2 * wider), joint="curve")
        return
    left, right = (x + scale * part.x + sign * (scale * part.width + wider) for sign in (-1, 1))
    top, bottom = (y + scale * part.y + sign * (scale * part.height + wider) for sign in (-1, 1))
    canvas.ellipse((left, top, right, bottom), fill=fill)
