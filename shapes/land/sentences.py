"""Reading whole sentences about a scene back, so that an answer in other words is right where it says the same."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping

from shapes.land.captions import NUMBERS, PLACE_PHRASES, REGION_PHRASES, RELATION_PHRASES, plural
from shapes.land.painting import COLOURS
from shapes.land.scenes import NAMES
from shapes.land.things import SIZES, Region, Relation, Scene, region, relation

_SINGULAR: Mapping[str, str] = {**{plural(name): name for name in NAMES}, **{name: name for name in NAMES}}
_COUNTS: Mapping[str, int] = {"a": 1, "an": 1, "the": 1, **{word: number for number, word in enumerate(NUMBERS)}}
_BACKGROUND_OF: Mapping[str, str] = {words: name for name, phrases in PLACE_PHRASES.items() for words in phrases}
_RELATION_OF: Mapping[str, Relation] = {words: name for name, phrases in RELATION_PHRASES.items() for words in phrases}
_REGION_OF: Mapping[str, Region] = {words: name for name, words in REGION_PHRASES.items()}


def _either(words: Mapping[str, object] | tuple[str, ...]) -> str:
    return "|".join(sorted(words, key=len, reverse=True))


_NAME, _SIZE, _COLOUR = _either(_SINGULAR), _either(SIZES), _either(tuple(COLOURS))
_ITEM = re.compile(rf"({_either(_COUNTS)}) (?:({_SIZE}) )?(?:({_COLOUR}) )?({_NAME})")
_PLACED = re.compile(rf"(?:the )?({_NAME}) is (?:({_either(_REGION_OF)})|({_either(_RELATION_OF)}) the ({_NAME}))")


def plain(text: str) -> str:
    """Without letter case, outer spaces, a final full stop and doubled spaces."""
    return " ".join(text.lower().split()).removesuffix(".")


def says_what_is_there(text: str, scene: Scene) -> bool:
    """Whether a description names all of a scene, each kind with its number and colour and the background, no more."""
    said = plain(text)
    for opening in ("a picture of ", "a drawing of ", "there is ", "there are ", "i can see "):
        said = said.removeprefix(opening)
    place = next((words for words in _BACKGROUND_OF if said.endswith(f" {words}")), None)
    if place is None or _BACKGROUND_OF[place] != scene.background:
        return False
    items: Counter[tuple[str | None, str]] = Counter()
    for phrase in re.split(r", and |, | and ", said.removesuffix(place).strip()):
        found = _ITEM.fullmatch(phrase)
        if found is None:
            return False
        count, _, colour, name = found.groups()
        items[colour, _SINGULAR[name]] += _COUNTS[count]
    return items == Counter(thing.kind for thing in scene.things)


def says_where(text: str, figure: str, scene: Scene) -> bool:
    """Whether a sentence says truly where a thing of a figure is, by another thing or by a part of the picture."""
    found = _PLACED.fullmatch(plain(text))
    if found is None:
        return False
    name, place, related, other = found.groups()
    if _SINGULAR[name] != figure:
        return False
    things = [thing for thing in scene.things if thing.figure == figure]
    if place is not None:
        return any(region(thing) == _REGION_OF[place] for thing in things)
    others = [thing for thing in scene.things if thing.figure == _SINGULAR[other]]
    return any(relation(a, b) == _RELATION_OF[related] for a in things for b in others)
