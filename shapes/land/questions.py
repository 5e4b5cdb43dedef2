"""Questions about a scene of the land: answered by one word, or by a sentence that can be checked by the scene."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from types import MappingProxyType
from typing import Literal, get_args

from shapes.land.captions import (
    NUMBERS,
    PLACE_PHRASES,
    REGION_PHRASES,
    RELATION_PHRASES,
    article,
    counted,
    grouped,
    listing,
    plural,
)
from shapes.land.painting import BACKGROUNDS, COLOURS
from shapes.land.scenes import NAMES
from shapes.land.things import OPPOSITES, RELATIONS, SIZES, Scene, Thing, region, relation

Kind = Literal["is there", "what colour", "what", "how many", "related", "background", "where", "describe"]
KINDS: tuple[Kind, ...] = get_args(Kind)
SENTENCES: frozenset[Kind] = frozenset({"where", "describe"})
DESCRIBE: tuple[str, ...] = ("describe the picture", "what is in the picture?", "what can you see?")


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """A question with its right answer; that of one of `SENTENCES` may be worded otherwise (see `sentences`)."""

    kind: Kind
    text: str
    answer: str


def questions(scene: Scene, rng: Random, count: int, *, kinds: Sequence[Kind] = KINDS) -> list[Question]:
    """Up to `count` distinct questions on the scene, the kinds taking turns; fewer where no more exist."""
    pools = [candidates(scene, rng, kind) for kind in rng.sample(kinds, len(kinds))]
    chosen: list[Question] = []
    while len(chosen) < count and any(pools):
        for pool in pools:
            if pool and len(chosen) < count:
                chosen.append(pool.pop())
    return chosen


def candidates(scene: Scene, rng: Random, kind: Kind) -> list[Question]:
    """Questions of one kind that the scene answers clearly, in random order."""
    return [Question(kind=kind, text=text, answer=answer) for text, answer in _BY_KIND[kind](scene, rng)]


_Pairs = list[tuple[str, str]]


def _shuffled(rng: Random, pairs: _Pairs) -> _Pairs:
    return rng.sample(pairs, len(pairs))


def _is_there(scene: Scene, rng: Random) -> _Pairs:
    """As many yes as no; half of the missing things share a colour or a figure with one that is there."""
    kinds = {thing.kind for thing in scene.things}
    here = sorted({figure for _, figure in kinds} | {f"{colour} {figure}" for colour, figure in kinds})
    near = [f"{c} {figure}" for c in COLOURS for _, figure in kinds if (c, figure) not in kinds]
    near += [f"{c} {figure}" for c, _ in kinds for figure in NAMES if (c, figure) not in kinds]
    far = [figure for figure in NAMES if figure not in {own for _, own in kinds}]
    asked = rng.sample(here, min(len(here), 3))
    pairs = [(_worded(rng, text), "yes") for text in asked]
    pairs += [(_worded(rng, rng.choice(sorted(near) if rng.random() < 0.5 else far)), "no") for _ in asked]
    return _shuffled(rng, pairs)


def _worded(rng: Random, description: str) -> str:
    return rng.choice(("is there {}?", "is there {} in the picture?", "can you see {}?")).format(article(description))


def _alone(scene: Scene) -> list[Thing]:
    """Things that are the only one of their figure."""
    numbers = Counter(thing.figure for thing in scene.things)
    return [thing for thing in scene.things if numbers[thing.figure] == 1]


def _what_colour(scene: Scene, rng: Random) -> _Pairs:
    colours: dict[str, set[str]] = {}
    numbers = Counter(thing.figure for thing in scene.things)
    for thing in scene.things:
        colours.setdefault(thing.figure, set()).add(thing.colour)
    pairs = []
    for figure, own in colours.items():
        if len(own) == 1:
            subject = f"is the {figure}" if numbers[figure] == 1 else f"are the {plural(figure)}"
            pairs.append((f"{rng.choice(('what', 'which'))} colour {subject}?", next(iter(own))))
    return _shuffled(rng, pairs)


def _what(scene: Scene, rng: Random) -> _Pairs:
    """A figure by its colour, its size, its place or what it lies to."""
    pairs: _Pairs = []
    for word, of in (("colour", {t.colour for t in scene.things}), ("size", set(SIZES))):
        for value in sorted(of):
            found = [thing for thing in scene.things if getattr(thing, word) == value]
            if len(found) == 1 and not (word == "size" and value == "medium"):
                pairs.append((f"what is {value}?", found[0].figure))
    for other in _alone(scene):
        for related in RELATIONS:
            found = [thing for thing in scene.things if thing is not other and relation(thing, other) == related]
            if len(found) == 1:
                pairs.append((f"what is {rng.choice(RELATION_PHRASES[related])} the {other.figure}?", found[0].figure))
    return _shuffled(rng, pairs)


def _how_many(scene: Scene, rng: Random) -> _Pairs:
    numbers = Counter(thing.figure for thing in scene.things)
    words = rng.choice(("how many {} are there?", "how many {} are in the picture?", "how many {} can you see?"))
    pairs = [(words.format(plural(figure)), NUMBERS[count]) for figure, count in numbers.items()]
    pairs.append((words.format("things"), NUMBERS[len(scene.things)]))
    if rng.random() < 0.3:
        missing = rng.choice([name for name in NAMES if name not in numbers])
        pairs.append((words.format(plural(missing)), NUMBERS[0]))
    # Otherwise "one" would answer nearly all of them: numbers above come last, and are taken first.
    return sorted(_shuffled(rng, pairs), key=lambda pair: (pair[1] != "one") * rng.random())


def _related(scene: Scene, rng: Random) -> _Pairs:
    pairs: _Pairs = []
    lone = _alone(scene)
    for first in lone:
        for second in lone:
            found = relation(first, second) if first is not second else None
            if found is not None:
                true = rng.random() < 0.5
                words = rng.choice(RELATION_PHRASES[found if true else OPPOSITES[found]])
                pairs.append((f"is the {first.figure} {words} the {second.figure}?", "yes" if true else "no"))
    return _shuffled(rng, pairs)


def _background(scene: Scene, rng: Random) -> _Pairs:
    asked = rng.choice(("what is the background?", "which background is it?"))
    others = [name for name in BACKGROUNDS if name != scene.background]
    claimed = scene.background if rng.random() < 0.5 else rng.choice(others)
    claim = (f"is it {rng.choice(PLACE_PHRASES[claimed])}?", "yes" if claimed == scene.background else "no")
    return _shuffled(rng, [(asked, scene.background), claim])


def _where(scene: Scene, rng: Random) -> _Pairs:
    """Where a thing is, by the thing next to it, or by the part of the picture it is in."""
    pairs: _Pairs = []
    for thing in _alone(scene):
        if (said := placed(thing, scene)) is not None:
            pairs.append((f"where is the {thing.figure}?", said))
    return _shuffled(rng, pairs)


def placed(thing: Thing, scene: Scene) -> str | None:
    """A sentence that says where a thing is; None where none is clearly right."""
    others = sorted(
        (other for other in _alone(scene) if other is not thing and relation(thing, other) is not None),
        key=lambda other: (
            relation(thing, other) not in ("on", "under"),
            abs(other.x - thing.x) + abs(other.y - thing.y),
        ),
    )
    if others:
        return f"the {thing.figure} is {relation(thing, others[0])} the {others[0].figure}"
    place = region(thing)
    return None if place is None else f"the {thing.figure} is {REGION_PHRASES[place]}"


def _describe(scene: Scene, rng: Random) -> _Pairs:
    return [(rng.choice(DESCRIBE), description(scene))]


def description(scene: Scene) -> str:
    """The one full description of a scene: every thing with its colour, in the order of reading, and the background."""
    groups = grouped(scene.things, with_size=False)
    said = listing([counted(len(group), group[0].figure, group[0].colour) for group in groups])
    return f"{said} {PLACE_PHRASES[scene.background][0]}"


_BY_KIND: Mapping[Kind, Callable[[Scene, Random], _Pairs]] = MappingProxyType(
    {
        "is there": _is_there,
        "what colour": _what_colour,
        "what": _what,
        "how many": _how_many,
        "related": _related,
        "background": _background,
        "where": _where,
        "describe": _describe,
    }
)
