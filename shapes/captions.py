"""Describing a scene in words: short, lower-case English that leaves things out but says nothing untrue.

It knows the phrases that grading prompts share with training captions, so that both are worded alike.  It
does not choose scenes and does not know which prompts are graded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random
from types import MappingProxyType

from shapes.things import Colour, Form, Region, Relation, Scene, Size, Thing, region, relation

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
_COLOUR_SHARE = 0.7
_SIZE_SHARE = 0.35
_RELATION_SHARE = 0.55
# Where a thing is, said of one alone or of each: a relation between two is learned from it.
_PLACE_SHARE = 0.4
_PLACES_SHARE = 0.65


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
    """One true description of the scene, worded by `rng`."""
    with_colour = rng.random() < _COLOUR_SHARE
    with_size = rng.random() < _SIZE_SHARE
    groups: dict[str, list[Thing]] = {}
    for thing in rng.sample(scene.things, len(scene.things)):
        text = described(thing.form, thing.colour if with_colour else None, thing.size if with_size else None)
        groups.setdefault(text, []).append(thing)
    phrases = [counted(len(things), text) for text, things in groups.items()]
    firsts = [things[0] for things in groups.values()]
    if len(scene.things) == 2 and len(groups) == 2:
        found = relation(firsts[0], firsts[1])
        if found is not None and rng.random() < _RELATION_SHARE:
            return _related(rng, phrases[0], found, phrases[1])
    if 1 < len(scene.things) == len(groups) and rng.random() < _PLACES_SHARE:
        return listed([_placed(text, thing) for text, thing in zip(phrases, firsts, strict=True)])
    said = listed(phrases)
    if len(scene.things) == 1:
        return _single(rng, said, firsts[0], scene)
    return _dressed(rng, said, scene)


def _related(rng: Random, first: str, found: Relation, second: str) -> str:
    """Two phrases with their relation: the plain wording half of the time, since prompts use it most."""
    draw = rng.random()
    if draw < 0.5:
        return f"{first} {found} {second}"
    if draw < 0.75:
        return f"{first} {LONG_RELATIONS[found]} {second}"
    return f"{second} with {first} {LONG_RELATIONS[found]} it"


def _single(rng: Random, said: str, thing: Thing, scene: Scene) -> str:
    draw = rng.random()
    if draw < 0.15:
        return said.replace("a ", "one ", 1)
    if draw < 0.15 + _PLACE_SHARE:
        return _placed(said, thing)
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
