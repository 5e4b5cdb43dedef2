"""Drawing scenes at random: the mix the model is trained on, and builders for scenes with given contents.

It knows which pairings are held out of training so that the grading can ask for compositions never seen.
It does not know how scenes are rendered, described or graded; what a scene is lives in `things`, whose
names are offered here too.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from shapes.things import (
    BACKGROUND_RGB,
    BACKGROUNDS,
    CLEAR_SEPARATION,
    COLOUR_RGB,
    COLOURS,
    EXTENTS,
    FORMS,
    GAP,
    KINDS,
    MARGIN,
    MAX_THINGS,
    OPPOSITES,
    REGIONS,
    RELATIONS,
    SIZES,
    Background,
    Colour,
    Form,
    Kind,
    Region,
    Relation,
    Rgb,
    Scene,
    Size,
    Thing,
    apart,
    region,
    relation,
)

__all__ = [
    "BACKGROUNDS",
    "BACKGROUND_RGB",
    "COLOURS",
    "COLOUR_RGB",
    "EXTENTS",
    "FORMS",
    "HELD_OUT",
    "KINDS",
    "MAX_THINGS",
    "OPPOSITES",
    "REGIONS",
    "RELATIONS",
    "SIZES",
    "Background",
    "Colour",
    "Form",
    "Kind",
    "Region",
    "Relation",
    "Rgb",
    "Scene",
    "Size",
    "Thing",
    "apart",
    "counting_scene",
    "is_held_out",
    "mixed_colour_scene",
    "pair_scene",
    "placed_scene",
    "region",
    "relation",
    "sample_scene",
    "several_scene",
    "single_scene",
]

HELD_OUT: frozenset[Kind] = frozenset({("purple", "triangle"), ("cyan", "circle"), ("yellow", "square")})

_TRIES_PER_THING = 12
_LAYOUTS = 4
# A relation drawn on purpose leans a little further than `relation` demands, so that rounding never undoes it.
_DRAWN_RATIO = 1.4


def is_held_out(scene: Scene, held_out: frozenset[Kind] = HELD_OUT) -> bool:
    """Whether a scene shows a held-out kind beside a thing of another kind, which training never does."""
    kinds = {thing.kind for thing in scene.things}
    return len(kinds) > 1 and not kinds.isdisjoint(held_out)


def placed_scene(rng: Random, looks: Sequence[tuple[Kind, Size]], *, background: Background | None = None) -> Scene:
    """A scene of 1-4 things with the given kinds and sizes at random places; raises ValueError otherwise."""
    if not 1 <= len(looks) <= MAX_THINGS:
        raise ValueError(f"a scene has 1 to {MAX_THINGS} things, not {len(looks)}")
    drawn = background if background is not None else rng.choice(BACKGROUNDS)
    for _ in range(_LAYOUTS):
        placed = _scatter(rng, looks)
        if placed is not None:
            return Scene(things=tuple(placed), background=drawn)
    return Scene(things=tuple(_grid(rng, looks)), background=drawn)


def _scatter(rng: Random, looks: Sequence[tuple[Kind, Size]]) -> list[Thing] | None:
    """Places tried at random, or None when some thing found no room within its tries."""
    spots: list[tuple[float, float, float]] = []
    for _, size in looks:
        extent = EXTENTS[size]
        inset = extent + MARGIN
        room = 1.0 - 2.0 * inset
        for _ in range(_TRIES_PER_THING):
            x, y = inset + room * rng.random(), inset + room * rng.random()
            if all(max(abs(x - u), abs(y - v)) >= extent + other + GAP for u, v, other in spots):
                spots.append((x, y, extent))
                break
        else:
            return None
    return [_thing(kind, size, x, y) for (kind, size), (x, y, _) in zip(looks, spots, strict=True)]


def _grid(rng: Random, looks: Sequence[tuple[Kind, Size]]) -> list[Thing]:
    """One thing to each quarter of the picture: always fits, so that drawing a scene always ends."""
    quarters = [(0, 0), (1, 0), (0, 1), (1, 1)]
    rng.shuffle(quarters)
    side = (1.0 - 2.0 * MARGIN - GAP) / 2.0
    things = []
    for (kind, size), (column, row) in zip(looks, quarters, strict=False):
        extent = EXTENTS[size]
        slack = side - 2.0 * extent
        x = MARGIN + column * (side + GAP) + extent + slack * rng.random()
        y = MARGIN + row * (side + GAP) + extent + slack * rng.random()
        things.append(_thing(kind, size, x, y))
    return things


def _thing(kind: Kind, size: Size, x: float, y: float) -> Thing:
    return Thing(form=kind[1], colour=kind[0], size=size, x=x, y=y)


def single_scene(rng: Random, *, kind: Kind | None = None, size: Size | None = None) -> Scene:
    """A scene with one thing; what is not given is drawn."""
    drawn = size if size is not None else rng.choice(SIZES)
    return placed_scene(rng, [(kind or rng.choice(KINDS), drawn)])


def pair_scene(
    rng: Random,
    *,
    kinds: tuple[Kind, Kind] | None = None,
    sizes: tuple[Size, Size] | None = None,
    related: Relation | None = None,
    held_out: frozenset[Kind] = HELD_OUT,
) -> Scene:
    """A scene with two things; with `related`, the first lies so to the second.

    Kinds not given are two different ones outside `held_out`; kinds given are taken as they are.
    """
    if kinds is None:
        first, second = rng.sample([kind for kind in KINDS if kind not in held_out], 2)
    else:
        first, second = kinds
    first_size, second_size = sizes or (rng.choice(SIZES), rng.choice(SIZES))
    if related is None:
        return placed_scene(rng, [(first, first_size), (second, second_size)])
    swapped = related in ("right of", "below")
    near, far = (second_size, first_size) if swapped else (first_size, second_size)
    along, aside = _related_places(rng, EXTENTS[near], EXTENTS[far])
    places = [along, aside] if related in ("left of", "right of") else [along[::-1], aside[::-1]]
    if swapped:
        places.reverse()
    things = (_thing(first, first_size, *places[0]), _thing(second, second_size, *places[1]))
    return Scene(things=things, background=rng.choice(BACKGROUNDS))


def _related_places(rng: Random, near: float, far: float) -> tuple[tuple[float, float], tuple[float, float]]:
    """Places of two things of the given extents, the first clearly before the second along the first axis."""
    low_near, low_far = MARGIN + near, MARGIN + far
    low, high = max(CLEAR_SEPARATION, near + far + GAP), 1.0 - low_near - low_far
    separation = rng.uniform(low, high)
    along = rng.uniform(low_near, 1.0 - low_far - separation)
    aside = rng.uniform(low_near, 1.0 - low_near)
    swing = separation / _DRAWN_RATIO
    other = rng.uniform(max(low_far, aside - swing), min(1.0 - low_far, aside + swing))
    return (along, aside), (along + separation, other)


def counting_scene(
    rng: Random, *, count: int | None = None, kind: Kind | None = None, size: Size | None = None
) -> Scene:
    """A scene of two to four things of one kind, mostly of one size; what is not given is drawn."""
    drawn = count if count is not None else rng.randint(2, MAX_THINGS)
    look = kind or rng.choice(KINDS)
    sizes: list[Size] = _crowd(rng, drawn) if size is None else [size] * drawn
    return placed_scene(rng, [(look, each) for each in sizes])


def mixed_colour_scene(rng: Random, *, held_out: frozenset[Kind] = HELD_OUT) -> Scene:
    """A scene of two to four things of one form and at least two colours."""
    count = rng.randint(2, MAX_THINGS)
    form = rng.choice(FORMS)
    palette = rng.sample([colour for colour in COLOURS if (colour, form) not in held_out], min(count, 3))
    colours = [*palette[:2], *rng.choices(palette, k=count - 2)]
    return placed_scene(rng, [((c, form), s) for c, s in zip(colours, _crowd(rng, count), strict=True)])


def several_scene(rng: Random, *, held_out: frozenset[Kind] = HELD_OUT) -> Scene:
    """A scene of three or four things, all of different kinds."""
    count = rng.randint(3, MAX_THINGS)
    kinds = rng.sample([kind for kind in KINDS if kind not in held_out], count)
    return placed_scene(rng, list(zip(kinds, _crowd(rng, count), strict=True)))


def _crowd(rng: Random, count: int) -> list[Size]:
    """Sizes for several things: alike mostly, and the more there are the smaller."""
    if rng.random() < 0.25:
        return [rng.choice(SIZES) for _ in range(count)]
    size: Size = "large" if rng.random() < 0.6 - 0.1 * count else "small"
    return [size] * count


def sample_scene(rng: Random, *, held_out: frozenset[Kind] = HELD_OUT) -> Scene:
    """A scene from the training mix: 25% single, 45% pairs, 20% counting, 10% several things.

    Kinds in `held_out` come alone or among their like only.
    """
    draw = rng.random()
    if draw < 0.25:
        return single_scene(rng)
    if draw < 0.70:
        related = rng.choice(RELATIONS) if rng.random() < 0.6 else None
        return pair_scene(rng, related=related, held_out=held_out)
    if draw < 0.90:
        if rng.random() < 0.75:
            return counting_scene(rng)
        return mixed_colour_scene(rng, held_out=held_out)
    return several_scene(rng, held_out=held_out)
