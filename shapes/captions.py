"""Describing a scene in words: short, lower-case English that leaves things out but says nothing untrue.

It knows the phrases that grading prompts share with training captions, so that both are worded alike.  It
does not choose scenes and does not know which prompts are graded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random
from types import MappingProxyType

from shapes.things import OPPOSITES, Colour, Form, Region, Relation, Scene, Size, Thing, region, relation
from shapes.usual import as_read, has_usual_colours, has_usual_sizes

NUMBERS: tuple[str, ...] = ("zero", "one", "two", "three", "four")
REGION_PHRASES: Mapping[Region, str] = MappingProxyType(
    {
        "left": "on the left",
        "right": "on the right",
        "top": "at the top",
        "bottom": "at the bottom",
        "centre": "in the centre",
    }
)
LONG_RELATIONS: Mapping[Relation, str] = MappingProxyType(
    {"left of": "to the left of", "right of": "to the right of", "above": "above", "below": "below"}
)
# How often what is usual is said all the same.
_COLOUR_SHARE = 0.35
_SIZE_SHARE = 0.2
_PLACE_SHARE = 0.2
# Of two things side by side: only listed, in the order they stand; or related; else each with its place.
_LIST_SHARE, _RELATION_SHARE = 0.4, 0.4


def described(form: Form, colour: Colour | None = None, size: Size | None = None) -> str:
    """A form with what is said of it: "red circle", "large circle", "small red circle"."""
    return " ".join(word for word in (size, colour, form) if word is not None)


def counted(count: int, description: str) -> str:
    """A description with its number: "a red circle", "three red circles"; raises ValueError below one."""
    if count < 1:
        raise ValueError(f"cannot describe {count} things")
    return f"a {description}" if count == 1 else f"{NUMBERS[count]} {description}s"


def listed(phrases: Sequence[str]) -> str:
    """Phrases joined as English does: "a", "a and b", "a, b and c"."""
    return " and ".join([", ".join(phrases[:-1]), phrases[-1]]) if len(phrases) > 1 else phrases[0]


def caption(scene: Scene, rng: Random) -> str:
    """One true description of the scene, worded by `rng`, that leaves out only what is usual: see `usual`."""
    with_colour = not has_usual_colours(scene) or rng.random() < _COLOUR_SHARE
    with_size = not has_usual_sizes(scene) or rng.random() < _SIZE_SHARE
    groups: dict[str, list[Thing]] = {}
    for thing in as_read(scene.things):
        text = described(thing.form, thing.colour if with_colour else None, thing.size if with_size else None)
        groups.setdefault(text, []).append(thing)
    phrases = [counted(len(things), text) for text, things in groups.items()]
    if len(scene.things) > len(groups):
        return _dressed(rng, listed(phrases), scene)
    firsts = [things[0] for things in groups.values()]
    if len(firsts) == 1:
        return _single(rng, phrases[0], firsts[0], scene)
    found = relation(firsts[0], firsts[1])
    side_by_side = found == "left of" and (len(firsts) == 2 or relation(firsts[1], firsts[2]) == "left of")
    draw = rng.random() if side_by_side else rng.uniform(_LIST_SHARE, 1.0)
    if draw < _LIST_SHARE:
        return _dressed(rng, listed(phrases), scene)
    if found is not None and len(firsts) == 2 and draw < _LIST_SHARE + _RELATION_SHARE:
        if rng.random() < 0.5:
            return _related(rng, phrases[0], found, phrases[1])
        return _related(rng, phrases[1], OPPOSITES[found], phrases[0])
    return listed([_placed(text, thing) for text, thing in zip(phrases, firsts, strict=True)])


def _related(rng: Random, first: str, found: Relation, second: str) -> str:
    """Two phrases with their relation: the plain wording half of the time, since prompts use it most."""
    draw = rng.random()
    if draw < 0.5:
        return f"{first} {found} {second}"
    if draw < 0.75:
        return f"{first} {LONG_RELATIONS[found]} {second}"
    return f"{second} with {first} {LONG_RELATIONS[found]} it"


def _single(rng: Random, said: str, thing: Thing, scene: Scene) -> str:
    """A thing alone: where it is, or nothing of that in the centre."""
    if region(thing) != "centre" or rng.random() < _PLACE_SHARE:
        return _placed(said, thing)
    if rng.random() < 0.2:
        return said.replace("a ", "one ", 1)
    return _dressed(rng, said, scene)


def _placed(said: str, thing: Thing) -> str:
    """The phrase with the part of the picture its thing is in, where one word tells it."""
    place = region(thing)
    return said if place is None else f"{said} {REGION_PHRASES[place]}"


def _dressed(rng: Random, said: str, scene: Scene) -> str:
    """The phrase plain, as a picture, or with its background."""
    draw = rng.random()
    if draw < 0.6:
        return said
    if draw < 0.8:
        return f"a picture of {said}"
    return f"{said} on a {scene.background} background"
