"""How things usually are: the colour of each form, sizes, and where things stand when nothing is said of it.

Captions leave out what is usual, as speakers do (Grice's maxim of quantity), so a prompt that leaves colour or place
open still means one picture more than all others. It does not know how a caption is worded or what is graded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random
from types import MappingProxyType

from shapes.scene import HELD_OUT, sample_scene
from shapes.things import (
    BACKGROUNDS,
    FORMS,
    KINDS,
    MAX_THINGS,
    SIZES,
    Colour,
    Form,
    Kind,
    Scene,
    Size,
    Thing,
)

USUAL_COLOURS: Mapping[Form, Colour] = MappingProxyType({"circle": "red", "square": "blue", "triangle": "green"})

# Centres by number of things: a row as long as it fits, then quarters.
_ROWS: Mapping[int, tuple[tuple[float, float], ...]] = MappingProxyType(
    {
        1: ((0.5, 0.5),),
        2: ((0.27, 0.5), (0.73, 0.5)),
        3: ((0.19, 0.5), (0.5, 0.5), (0.81, 0.5)),
        4: ((0.27, 0.27), (0.73, 0.27), (0.27, 0.73), (0.73, 0.73)),
    }
)
_SIDES = ((0.27, 0.5), (0.73, 0.5), (0.5, 0.27), (0.5, 0.73))
# Nothing stands exactly where it should: things together by the first, each by itself by the second.
_SHARED_SWAY, _OWN_SWAY = 0.03, 0.015


def usual_size(count: int) -> Size:
    """The size that things have when nothing is said of it, by their number in the picture."""
    return "large" if count <= 2 else "small"


def has_usual_colours(scene: Scene) -> bool:
    """Whether every thing has its form's usual colour."""
    return all(thing.colour == USUAL_COLOURS[thing.form] for thing in scene.things)


def has_usual_sizes(scene: Scene) -> bool:
    """Whether every thing has the usual size among so many."""
    return all(thing.size == usual_size(len(scene.things)) for thing in scene.things)


def arranged(
    rng: Random, looks: Sequence[tuple[Kind, Size]], centres: Sequence[tuple[float, float]] | None = None
) -> Scene:
    """A scene of 1-4 things near the given centres, or in the usual arrangement; sizes must leave room there."""
    across, down = (rng.uniform(-_SHARED_SWAY, _SHARED_SWAY) for _ in range(2))
    things = [
        Thing(
            form=form,
            colour=colour,
            size=size,
            x=x + across + rng.uniform(-_OWN_SWAY, _OWN_SWAY),
            y=y + down + rng.uniform(-_OWN_SWAY, _OWN_SWAY),
        )
        for ((colour, form), size), (x, y) in zip(looks, centres or _ROWS[len(looks)], strict=True)
    ]
    return Scene(things=tuple(things), background=rng.choice(BACKGROUNDS))


def usual_scene(rng: Random, *, held_out: frozenset[Kind] = HELD_OUT) -> Scene:
    """A scene arranged as usual: 25% one thing, 50% two kinds, 20% things alike, 5% three or four kinds.

    Single things stand aside and two kinds above each other at times, and colours and sizes are often unusual; what
    is unusual is for the caption to say. Kinds in `held_out` come alone or among their like only.
    """
    draw = rng.random()
    plain = rng.random() < 0.45
    centres: Sequence[tuple[float, float]] | None = None
    if draw < 0.25:
        kinds = _kinds(rng, 1, plain, frozenset())
        centres = (rng.choice(_SIDES),) if rng.random() < 0.3 else None
    elif draw < 0.75:
        kinds = _kinds(rng, 2, plain, held_out)
        centres = _SIDES[2:] if rng.random() < 0.4 else None
    elif draw < 0.95:
        kinds = _kinds(rng, 1, plain, frozenset()) * rng.randint(2, MAX_THINGS)
    else:
        kinds = _kinds(rng, rng.randint(3, MAX_THINGS), False, held_out)
    count = len(kinds)
    usual = rng.random() < 0.6
    sizes = [usual_size(count) if usual or count == 3 else rng.choice(SIZES) for _ in kinds]
    return arranged(rng, list(zip(kinds, sizes, strict=True)), centres)


def _kinds(rng: Random, count: int, plain: bool, held_out: frozenset[Kind]) -> list[Kind]:
    """Different kinds: with `plain` of the usual colours, which takes different forms."""
    if plain:
        return [(USUAL_COLOURS[form], form) for form in rng.sample(FORMS, count)]
    return rng.sample([kind for kind in KINDS if kind not in held_out], count)


def drawn_scene(rng: Random) -> Scene:
    """A scene to learn drawing from: a usual one four times in five, else any of the training mix."""
    return usual_scene(rng) if rng.random() < 0.8 else sample_scene(rng)


def as_read(things: Sequence[Thing]) -> list[Thing]:
    """Things in the order they are listed in: left to right, or top to bottom where they spread further that way."""
    across = max(thing.x for thing in things) - min(thing.x for thing in things)
    down = max(thing.y for thing in things) - min(thing.y for thing in things)
    return sorted(things, key=lambda thing: thing.x if across >= down else thing.y)
