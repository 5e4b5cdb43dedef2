"""The figures as vector data: parts in a square from -1 to 1, y downwards, each painted in the figure's own colour, a
shade of it, or a fixed colour that makes the figure what it is (a window, a trunk)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import cos, pi, sin
from types import MappingProxyType
from typing import Literal

Rgb = tuple[int, int, int]
Paint = Literal["own", "dark", "light"] | Rgb
Point = tuple[float, float]

BROWN: Rgb = (121, 85, 58)
GLASS: Rgb = (190, 225, 240)
INK: Rgb = (35, 35, 40)
WHITE: Rgb = (250, 250, 250)
LEAF: Rgb = (70, 150, 70)
GOLD: Rgb = (240, 190, 60)


@dataclass(frozen=True, slots=True)
class Ellipse:
    """An ellipse with its axes along x and y."""

    x: float
    y: float
    width: float  # half of it, as `height`
    height: float
    paint: Paint = "own"


@dataclass(frozen=True, slots=True)
class Polygon:
    """A simple polygon."""

    points: tuple[Point, ...]
    paint: Paint = "own"


Part = Ellipse | Polygon


def _box(left: float, top: float, right: float, bottom: float, paint: Paint = "own") -> Polygon:
    return Polygon(((left, top), (right, top), (right, bottom), (left, bottom)), paint)


def _regular(corners: int, outer: float, inner: float | None = None, turn: float = -pi / 2) -> tuple[Point, ...]:
    """Corners of a regular polygon; with `inner`, of a star."""
    radii = [outer] if inner is None else [outer, inner]
    count = corners * len(radii)
    angles = [turn + 2 * pi * index / count for index in range(count)]
    return tuple((radii[i % len(radii)] * cos(a), radii[i % len(radii)] * sin(a)) for i, a in enumerate(angles))


def _arc(radius: float, start: float, end: float, *, x: float = 0.0, y: float = 0.0) -> tuple[Point, ...]:
    steps = 24
    angles = [start + (end - start) * step / steps for step in range(steps + 1)]
    return tuple((x + radius * cos(angle), y + radius * sin(angle)) for angle in angles)


_PETALS = tuple(Ellipse(0.44 * cos(2 * pi * i / 6), -0.32 + 0.44 * sin(2 * pi * i / 6), 0.28, 0.28) for i in range(6))

FIGURES: Mapping[str, tuple[Part, ...]] = MappingProxyType(
    {
        "circle": (Ellipse(0, 0, 1, 1),),
        "square": (_box(-1, -1, 1, 1),),
        "triangle": (Polygon(((0, -1), (1, 1), (-1, 1))),),
        "star": (Polygon(_regular(5, 1.0, 0.42)),),
        "heart": (
            Ellipse(-0.48, -0.4, 0.52, 0.52),
            Ellipse(0.48, -0.4, 0.52, 0.52),
            Polygon(((-0.95, -0.18), (0, -0.5), (0.95, -0.18), (0, 0.98))),
        ),
        "sun": (Polygon(_regular(12, 1.0, 0.68), "light"), Ellipse(0, 0, 0.62, 0.62)),
        # Between a circle and a second one through the same two points.
        "moon": (Polygon((*_arc(1.0, pi / 3, 5 * pi / 3), *_arc(0.874, 4.5745, 1.7087, x=0.62))),),
        "cloud": (
            Ellipse(-0.5, 0.15, 0.5, 0.42),
            Ellipse(0.5, 0.18, 0.5, 0.4),
            Ellipse(-0.08, -0.2, 0.52, 0.5),
            _box(-0.5, 0.1, 0.5, 0.57),
        ),
        "tree": (
            _box(-0.16, 0.3, 0.16, 1.0, BROWN),
            Ellipse(-0.4, 0.05, 0.48, 0.45, "dark"),
            Ellipse(0.4, 0.05, 0.48, 0.45, "dark"),
            Ellipse(0, -0.35, 0.62, 0.62),
        ),
        "flower": (
            _box(-0.06, 0.0, 0.06, 1.0, LEAF),
            Ellipse(0.28, 0.62, 0.26, 0.12, LEAF),
            *_PETALS,
            Ellipse(0, -0.32, 0.26, 0.26, GOLD),
        ),
        "house": (
            _box(-0.78, -0.1, 0.78, 1.0),
            Polygon(((-1, -0.1), (0, -1), (1, -0.1)), "dark"),
            _box(-0.2, 0.4, 0.2, 1.0, BROWN),
            _box(-0.6, 0.12, -0.3, 0.42, GLASS),
            _box(0.3, 0.12, 0.6, 0.42, GLASS),
        ),
        "car": (
            Polygon(((-0.6, -0.05), (-0.35, -0.5), (0.35, -0.5), (0.62, -0.05)), "dark"),
            Polygon(((-0.4, -0.06), (-0.26, -0.38), (-0.04, -0.38), (-0.04, -0.06)), GLASS),
            Polygon(((0.06, -0.06), (0.06, -0.38), (0.26, -0.38), (0.42, -0.06)), GLASS),
            _box(-1, -0.06, 1, 0.42),
            Ellipse(-0.55, 0.42, 0.25, 0.25, INK),
            Ellipse(0.55, 0.42, 0.25, 0.25, INK),
            Ellipse(-0.55, 0.42, 0.1, 0.1, WHITE),
            Ellipse(0.55, 0.42, 0.1, 0.1, WHITE),
        ),
        "boat": (
            Polygon(((-1, 0.4), (1, 0.4), (0.66, 0.95), (-0.66, 0.95))),
            _box(-0.05, -1.0, 0.05, 0.4, BROWN),
            Polygon(((0.1, -0.95), (0.85, 0.25), (0.1, 0.25)), WHITE),
            Polygon(((-0.1, -0.7), (-0.1, 0.25), (-0.65, 0.25)), "light"),
        ),
        "fish": (
            Polygon(((0.45, 0.0), (1.0, -0.5), (0.85, 0.0), (1.0, 0.5)), "dark"),
            Polygon(((-0.2, -0.4), (0.15, -0.8), (0.3, -0.3)), "dark"),
            Ellipse(-0.2, 0.0, 0.8, 0.5),
            Ellipse(-0.62, -0.12, 0.12, 0.12, WHITE),
            Ellipse(-0.64, -0.12, 0.06, 0.06, INK),
        ),
        "bird": (
            Polygon(((0.4, 0.0), (1.0, -0.35), (0.95, 0.25)), "dark"),
            Ellipse(0.05, 0.15, 0.62, 0.45),
            Ellipse(-0.5, -0.3, 0.34, 0.34),
            Polygon(((-0.78, -0.4), (-1.0, -0.25), (-0.78, -0.16)), GOLD),
            Ellipse(-0.56, -0.38, 0.07, 0.07, INK),
            Ellipse(0.12, 0.1, 0.36, 0.22, "dark"),
            _box(-0.12, 0.55, -0.06, 0.95, GOLD),
            _box(0.16, 0.55, 0.22, 0.95, GOLD),
        ),
        "cat": (
            Polygon(((0.62, 0.9), (1.0, 0.5), (0.98, 0.0), (0.84, 0.02), (0.84, 0.45), (0.45, 0.75)), "dark"),
            Ellipse(0.1, 0.52, 0.58, 0.48),
            Polygon(
                ((-0.8, -0.4), (-0.72, -1.0), (-0.28, -0.62)),
            ),
            Polygon(
                ((0.36, -0.4), (0.3, -1.0), (-0.14, -0.62)),
            ),
            Ellipse(-0.22, -0.25, 0.56, 0.48),
            Ellipse(-0.42, -0.32, 0.09, 0.11, WHITE),
            Ellipse(-0.02, -0.32, 0.09, 0.11, WHITE),
            Ellipse(-0.42, -0.31, 0.05, 0.07, INK),
            Ellipse(-0.02, -0.31, 0.05, 0.07, INK),
            Polygon(((-0.3, -0.14), (-0.14, -0.14), (-0.22, -0.04)), INK),
        ),
        "ball": (
            Ellipse(0, 0, 1, 1),
            Polygon((*_arc(1.0, -pi / 2 - 0.35, -pi / 2 + 0.35), *_arc(1.0, pi / 2 - 0.35, pi / 2 + 0.35)), WHITE),
            Ellipse(-0.45, -0.45, 0.16, 0.16, "light"),
        ),
        "mushroom": (
            Polygon(((-0.26, 0.1), (0.26, 0.1), (0.36, 1.0), (-0.36, 1.0)), WHITE),
            Polygon((*_arc(1.0, pi, 2 * pi, y=0.2),)),
            Ellipse(-0.45, -0.15, 0.16, 0.16, WHITE),
            Ellipse(0.1, -0.45, 0.18, 0.18, WHITE),
            Ellipse(0.52, -0.08, 0.13, 0.13, WHITE),
        ),
        "apple": (
            Ellipse(-0.34, 0.2, 0.6, 0.75),
            Ellipse(0.34, 0.2, 0.6, 0.75),
            _box(-0.06, -0.95, 0.06, -0.35, BROWN),
            Ellipse(0.32, -0.72, 0.28, 0.13, LEAF),
        ),
        "umbrella": (
            Polygon((*_arc(1.0, pi, 2 * pi),)),
            Polygon((*_arc(1.0, 1.32 * pi, 1.68 * pi), (0.0, 0.0)), "light"),
            _box(-0.05, 0.0, 0.05, 0.85, BROWN),
            _box(-0.05, 0.75, 0.3, 0.88, BROWN),
        ),
        "cup": (
            Polygon((*_arc(0.42, -pi / 2, pi / 2, x=0.56, y=0.1), *_arc(0.24, pi / 2, -pi / 2, x=0.56, y=0.1)), "dark"),
            Polygon(((-0.8, -0.55), (0.7, -0.55), (0.5, 0.85), (-0.6, 0.85))),
            Ellipse(-0.05, -0.55, 0.75, 0.16, "light"),
        ),
    }
)
