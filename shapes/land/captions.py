"""Describing a scene of the land in words: lower-case English of one to three clauses that leaves out only what is
usual and says nothing untrue. Prompts that are graded are worded alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random
from types import MappingProxyType

from shapes.land.things import OPPOSITES, Region, Relation, Scene, Thing, between, region, relation
from shapes.land.usual import USUAL_COLOURS, as_read

NUMBERS: tuple[str, ...] = ("zero", "one", "two", "three", "four", "five", "six")
REGION_PHRASES: Mapping[Region, str] = MappingProxyType(
    {
        "left": "on the left",
        "right": "on the right",
        "top": "at the top",
        "bottom": "at the bottom",
        "centre": "in the centre",
    }
)
RELATION_PHRASES: Mapping[Relation, tuple[str, ...]] = MappingProxyType(
    {
        "left of": ("left of", "to the left of"),
        "right of": ("right of", "to the right of"),
        "above": ("above", "over"),
        "below": ("below",),
        "on": ("on", "on top of"),
        "under": ("under", "underneath"),
    }
)
PLACE_PHRASES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "plain": ("on a plain background",),
        "day": ("by day", "in the sky"),
        "night": ("at night",),
        "sea": ("at sea", "on the sea"),
        "meadow": ("in a meadow", "on the grass"),
        "snow": ("in the snow",),
    }
)
_IRREGULAR: Mapping[str, str] = MappingProxyType({"fish": "fish"})
_USUAL_COLOUR_SHARE = 0.5
_ANY_COLOUR_SHARE = 0.12  # of things of no usual colour, whose colour is left open
_SIZE_SHARE = 0.15
_PLACE_SHARE = 0.65


def plural(figure: str) -> str:
    """More than one of a figure."""
    return _IRREGULAR.get(figure, f"{figure}s")


def described(figure: str, colour: str | None = None, size: str | None = None) -> str:
    """A figure with what is said of it: "red boat", "large boat", "small red boat"."""
    return " ".join(word for word in (size, colour, figure) if word is not None)


def article(description: str) -> str:
    """With its article: "a red boat", "an orange boat"."""
    return f"an {description}" if description[0] in "aeiou" else f"a {description}"


def counted(count: int, figure: str, colour: str | None = None, size: str | None = None) -> str:
    """Things with their number: "a red boat", "three red boats".

    Raises:
        ValueError: there is no word for the count.
    """
    if not 1 <= count < len(NUMBERS):
        raise ValueError(f"cannot describe {count} things; from 1 to {len(NUMBERS) - 1} have words")
    if count == 1:
        return article(described(figure, colour, size))
    return f"{NUMBERS[count]} {described(plural(figure), colour, size)}"


def listing(phrases: Sequence[str]) -> str:
    """Phrases joined as English does: "a", "a and b", "a, b and c"."""
    return " and ".join([", ".join(phrases[:-1]), phrases[-1]]) if len(phrases) > 1 else phrases[0]


def caption(scene: Scene, rng: Random) -> str:
    """One true description of the scene, worded by `rng`."""
    groups = grouped(scene.things, with_size=True)
    phrases = [_said(group, rng) for group in groups]
    said = _arranged(rng, phrases, groups, scene)
    draw = rng.random()
    if draw < 0.1:
        said = f"a picture of {said}"
    elif draw < 0.15:
        said = f"a drawing of {said}"
    share = _PLACE_SHARE if scene.background != "plain" else 0.1
    return f"{said} {rng.choice(PLACE_PHRASES[scene.background])}" if rng.random() < share else said


def grouped(things: Sequence[Thing], *, with_size: bool) -> list[list[Thing]]:
    """Things that look alike together, in the order in which they are read."""
    groups: dict[tuple[str, ...], list[Thing]] = {}
    for thing in as_read(things):
        groups.setdefault((*thing.kind, thing.size) if with_size else thing.kind, []).append(thing)
    return list(groups.values())


def _said(group: Sequence[Thing], rng: Random) -> str:
    """Like things with their number; a colour that is usual, or a size that fits the number, is said at times only."""
    first = group[0]
    usual = USUAL_COLOURS.get(first.figure, ())
    open_share = _ANY_COLOUR_SHARE if not usual else 1 - _USUAL_COLOUR_SHARE if first.colour in usual else 0.0
    colour = None if rng.random() < open_share else first.colour
    expected = first.size == "medium" or len(group) > 2
    size = None if expected and (first.size == "medium" or rng.random() >= _SIZE_SHARE) else first.size
    return counted(len(group), first.figure, colour, size)


def _arranged(rng: Random, phrases: Sequence[str], groups: Sequence[Sequence[Thing]], scene: Scene) -> str:
    firsts = [group[0] for group in groups]
    if len(scene.things) == 1:
        place = region(firsts[0])
        if place is None or (place == "centre" and rng.random() < 0.8) or rng.random() < 0.2:
            return phrases[0]
        return f"{phrases[0]} {REGION_PHRASES[place]}"
    if len(scene.things) != len(groups):
        return listing(phrases)
    if len(groups) == 2:
        found = relation(*firsts)
        # Side by side, a list says as much: it goes from the left to the right.
        if found is not None and (found != "left of" or rng.random() < 0.5):
            return _related(rng, phrases, found)
        places = [region(thing) for thing in firsts]
        if None not in places and places[0] != places[1] and rng.random() < 0.5:
            return listing([f"{p} {REGION_PHRASES[r]}" for p, r in zip(phrases, places, strict=True) if r is not None])
    if len(groups) == 3 and between(firsts[1], firsts[0], firsts[2]) and rng.random() < 0.5:
        sides = [phrases[0], phrases[2]] if rng.random() < 0.5 else [phrases[2], phrases[0]]
        return f"{phrases[1]} between {listing(sides)}"
    if len(groups) == 3 and (found := relation(firsts[0], firsts[1])) is not None and rng.random() < 0.3:
        place = region(firsts[2])
        if place is not None:
            return f"{_related(rng, phrases[:2], found)} and {phrases[2]} {REGION_PHRASES[place]}"
    return listing(phrases)


def _related(rng: Random, phrases: Sequence[str], found: Relation) -> str:
    """Two phrases with their relation, said from either side."""
    first, second = phrases
    if rng.random() < 0.5:
        first, second, found = second, first, OPPOSITES[found]
    wording = rng.choice(RELATION_PHRASES[found])
    return f"{second} with {first} {wording} it" if rng.random() < 0.15 else f"{first} {wording} {second}"
