"""Scenes at random: the mix that training shows, and builders for scenes with given contents."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

import numpy as np
from numpy.typing import NDArray

from shapes.land.figures import FIGURES
from shapes.land.held_out import is_held_out
from shapes.land.painting import BACKGROUNDS, COLOURS, paint
from shapes.land.things import (
    EXTENTS,
    MARGIN,
    MAX_THINGS,
    RELATIONS,
    SIZES,
    Relation,
    Scene,
    Size,
    Thing,
    apart,
    box_of,
    relation,
)
from shapes.land.usual import GROUND, SKY, USUAL_COLOURS

NAMES: tuple[str, ...] = tuple(FIGURES)
PALETTE: tuple[str, ...] = tuple(COLOURS)
_TRIES = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """A thing that has no place yet."""

    figure: str
    colour: str
    size: Size = "medium"


def look(rng: Random, figure: str | None = None, *, size: Size | None = None, usual: float = 0.6) -> Look:
    """A thing at random, of a usual colour with this probability where its figure has one."""
    figure = figure or rng.choice(NAMES)
    colours = USUAL_COLOURS.get(figure, ())
    if not colours or rng.random() >= usual:
        colours = PALETTE
    return Look(figure=figure, colour=rng.choice(colours), size=size or _size(rng))


def _size(rng: Random) -> Size:
    return "medium" if rng.random() < 0.5 else rng.choice(SIZES)


def painted(scene: Scene, pixels: int) -> NDArray[np.uint8]:
    """The scene's picture, uint8 (pixels, pixels, 3)."""
    return paint([thing.placed() for thing in scene.things], background=scene.background, pixels=pixels)


def sample_scene(rng: Random) -> Scene:
    """A scene of the training mix, which shows nothing that is held out."""
    while is_held_out(scene := any_scene(rng)):
        pass
    return scene


def any_scene(rng: Random) -> Scene:
    """A scene of the mix that may show what training never does."""
    while True:
        try:
            return rng.choices(_MAKERS, _SHARES)[0](rng)
        except UnplacedError:
            continue


class UnplacedError(Exception):
    """No place was found for some thing."""


def single(rng: Random, what: Look | None = None) -> Scene:
    """One thing: where it usually is, or anywhere."""
    what = what or look(rng)
    background = _background(rng)
    y = _height(rng, what, background) if rng.random() < 0.6 else None
    x = rng.gauss(0.5, 0.03) if rng.random() < 0.5 else None
    return Scene(things=(_put(rng, what, (), x=x, y=y),), background=background)


def listed(rng: Random, looks: Sequence[Look] | None = None) -> Scene:
    """Two or three different things from the left to the right, each at its usual height."""
    looks = looks or [look(rng, figure) for figure in rng.sample(NAMES, 2 if rng.random() < 0.7 else 3)]
    background = _background(rng)
    level = rng.uniform(0.42, 0.6)
    things: list[Thing] = []
    for index, what in enumerate(looks):
        x = (index + 0.5) / len(looks) + rng.uniform(-0.06, 0.06)
        y = _height(rng, what, background) if background != "plain" else level + rng.uniform(-0.03, 0.03)
        things.append(_put(rng, what, things, x=x, y=y))
    return Scene(things=tuple(things), background=background)


def related(rng: Random, pair: Sequence[Look] | None = None, related: Relation | None = None) -> Scene:
    """Two things of which the first lies so to the second."""
    related = related or rng.choice(RELATIONS)
    first, second = pair or [look(rng, figure) for figure in rng.sample(NAMES, 2)]
    if related in ("right of", "below", "under"):
        lower, upper = (first, second) if related != "right of" else (second, first)
    else:
        lower, upper = (second, first) if related != "left of" else (first, second)
    for _ in range(_TRIES):
        if related in ("left of", "right of"):
            level = rng.uniform(0.35, 0.65)
            left = _put(rng, lower, (), x=rng.uniform(0.2, 0.35), y=level + rng.uniform(-0.05, 0.05))
            things = (left, _put(rng, upper, (), x=rng.uniform(0.65, 0.8), y=level + rng.uniform(-0.05, 0.05)))
        elif related in ("above", "below"):
            column = rng.uniform(0.35, 0.65)
            base = _put(rng, lower, (), x=column + rng.uniform(-0.05, 0.05), y=rng.uniform(0.65, 0.8))
            things = (base, _put(rng, upper, (), x=column + rng.uniform(-0.05, 0.05), y=rng.uniform(0.2, 0.35)))
        else:
            base = _put(rng, lower, (), x=rng.uniform(0.35, 0.65), y=rng.uniform(0.6, 0.78))
            foot = EXTENTS[upper.size] * box_of(upper.figure).bottom
            things = (base, _put(rng, upper, (), x=base.x, y=base.box.top - foot + 0.01))
        one, other = (things[0], things[1]) if things[0].figure == first.figure else (things[1], things[0])
        if apart(one, other) and relation(one, other) == related:
            return Scene(things=(one, other), background=_background(rng))
    raise UnplacedError


def in_between(rng: Random, looks: Sequence[Look] | None = None) -> Scene:
    """Three things in a row; the first of them stands between the others."""
    middle, left, right = looks or [look(rng, figure) for figure in rng.sample(NAMES, 3)]
    level = rng.uniform(0.4, 0.6)
    things: list[Thing] = []
    for what, x in ((middle, 0.5), (left, 0.16), (right, 0.84)):
        what = Look(figure=what.figure, colour=what.colour, size="medium" if what.size == "large" else what.size)
        things.append(_put(rng, what, things, x=x + rng.uniform(-0.02, 0.02), y=level + rng.uniform(-0.03, 0.03)))
    return Scene(things=tuple(things), background=_background(rng))


def counted(rng: Random, groups: Sequence[tuple[Look, int]] | None = None) -> Scene:
    """Things of one kind or two in rows, those of the first before those of the second, as one reads."""
    if groups is None:
        first = look(rng)
        if rng.random() < 0.5:
            groups = [(first, rng.randint(2, MAX_THINGS))]
        else:
            second = look(rng, rng.choice([name for name in NAMES if name != first.figure]))
            count = rng.randint(1, 4)
            groups = [(first, count), (second, rng.randint(2 if count == 1 else 1, min(4, MAX_THINGS - count)))]
    # All of one size, which fits the number; a size that was given stays.
    total = sum(count for _, count in groups)
    size: Size = "small" if rng.random() < 0.25 * (total - 2) else "medium"
    slots = [what for what, count in groups for _ in range(count)]
    rows = [total] if total <= 3 else [total - total // 2, total // 2]
    things: list[Thing] = []
    top = rng.uniform(0.42, 0.58) if len(rows) == 1 else rng.uniform(0.27, 0.33)
    for row, columns in enumerate(rows):
        for column in range(columns):
            what = slots[len(things)]
            placed = Look(figure=what.figure, colour=what.colour, size=what.size if what.size == "small" else size)
            x = (column + 0.5) / columns if columns > 1 else rng.uniform(0.35, 0.65)
            y = top + row * rng.uniform(0.4, 0.44)
            things.append(_put(rng, placed, things, x=x + rng.uniform(-0.025, 0.025), y=y + rng.uniform(-0.02, 0.02)))
    return Scene(things=tuple(things), background=_background(rng))


def scattered(rng: Random) -> Scene:
    """Two to six things anywhere."""
    count = rng.randint(2, MAX_THINGS)
    sizes: tuple[Size, ...] = ("small", "medium") if count > 3 else SIZES
    things: list[Thing] = []
    for _ in range(count):
        figure = rng.choice([thing.figure for thing in things]) if things and rng.random() < 0.3 else None
        size = rng.choice(sizes)
        things.append(_put(rng, look(rng, figure, size=size), things))
    return Scene(things=tuple(things), background=_background(rng))


def _background(rng: Random) -> str:
    return "plain" if rng.random() < 0.3 else rng.choice(list(BACKGROUNDS))


def _height(rng: Random, what: Look, background: str) -> float:
    if background != "plain" and what.figure in SKY:
        return rng.uniform(0.18, 0.32)
    if background != "plain" and what.figure in GROUND:
        return rng.uniform(0.6, 0.72)
    return rng.uniform(0.45, 0.57)


def _put(rng: Random, what: Look, others: Sequence[Thing], *, x: float | None = None, y: float | None = None) -> Thing:
    """A thing at that place, moved inwards where it would leave the picture, or anywhere apart from the others."""
    own, extent = box_of(what.figure), EXTENTS[what.size]
    edge = MARGIN + 1e-6
    left, right = edge - extent * own.left, 1 - edge - extent * own.right
    top, bottom = edge - extent * own.top, 1 - edge - extent * own.bottom
    for _ in range(_TRIES):
        across = rng.uniform(left, right) if x is None else min(max(x, left), right)
        down = rng.uniform(top, bottom) if y is None else min(max(y, top), bottom)
        thing = Thing(figure=what.figure, colour=what.colour, size=what.size, x=across, y=down)
        if all(apart(thing, other) and relation(thing, other) not in ("on", "under") for other in others):
            return thing
        if x is not None and y is not None:
            break
    raise UnplacedError


_MAKERS: tuple[Callable[[Random], Scene], ...] = (single, listed, related, in_between, counted, scattered)
_SHARES = (0.2, 0.18, 0.24, 0.06, 0.24, 0.08)
