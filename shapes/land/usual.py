"""What goes without saying: the colours a thing usually has, where it usually is, and the order in which things are
read. A caption leaves out what is usual only, so that a short prompt means one kind of picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from shapes.land.things import Thing

USUAL_COLOURS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "sun": ("yellow", "orange"),
        "moon": ("yellow", "white"),
        "cloud": ("white",),
        "star": ("yellow",),
        "heart": ("red",),
        "tree": ("green",),
        "flower": ("pink", "red", "purple"),
        "fish": ("orange", "blue"),
        "bird": ("blue", "red"),
        "cat": ("black", "orange"),
        "mushroom": ("red",),
        "apple": ("red", "green"),
    }
)
# Figures that stand in the sky where nothing else is said, and those that stand on the ground.
SKY: frozenset[str] = frozenset({"sun", "moon", "cloud", "star", "bird"})
GROUND: frozenset[str] = frozenset({"tree", "flower", "house", "car", "boat", "fish", "cat", "mushroom"})


def as_read(things: Sequence[Thing]) -> tuple[Thing, ...]:
    """Things from the left to the right, where they stand in one row; else row by row from the top."""
    rows: list[list[Thing]] = []
    for thing in sorted(things, key=lambda each: each.y):
        if rows and thing.y - rows[-1][0].y <= 0.16:
            rows[-1].append(thing)
        else:
            rows.append([thing])
    return tuple(thing for row in rows for thing in sorted(row, key=lambda each: each.x))
