"""What models are graded on: prompts of GenEval's six categories and of two kinds counted, and questions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from types import MappingProxyType
from typing import Literal, get_args

from shapes.land.captions import PLACE_PHRASES, RELATION_PHRASES, counted, listing
from shapes.land.held_out import held_out_count, held_out_kind, held_out_relation
from shapes.land.questions import KINDS, Kind, Question, candidates
from shapes.land.scenes import NAMES, PALETTE, any_scene
from shapes.land.things import MAX_THINGS, RELATIONS, Relation, Scene, Size
from shapes.land.usual import USUAL_COLOURS
from shapes.seeds import source

Category = Literal[
    "single_object", "two_objects", "counting", "colours", "position", "colour_attribution", "two_counted"
]
CATEGORIES: tuple[Category, ...] = get_args(Category)
_FRESH_TRIES = 400


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """A number of things of one figure; colour and size are None where the prompt leaves them open."""

    figure: str
    colour: str | None = None
    size: Size | None = None
    count: int = 1

    @property
    def text(self) -> str:
        """In the captions' words: "three red cups"."""
        return counted(self.count, self.figure, self.colour, self.size)


@dataclass(frozen=True, kw_only=True, slots=True)
class Prompt:
    """A prompt and what a picture must show for it; with `relation`, the first wanted thing lies so to the second."""

    category: Category
    text: str
    wanted: tuple[Wanted, ...]
    relation: Relation | None = None

    @property
    def held_out(self) -> bool:
        """Whether training never shows a pairing, a count or a relation that the prompt asks for."""
        if any(want.colour is not None and held_out_kind(want.colour, want.figure) for want in self.wanted):
            return True
        if any(held_out_count(want.count, want.figure) for want in self.wanted):
            return True
        return self.relation is not None and held_out_relation(
            self.wanted[0].figure, self.relation, self.wanted[1].figure
        )


def grading_prompts(count: int, seed: int) -> tuple[Prompt, ...]:
    """`count` prompts, as many of each category as of any other; the same each time.

    No prompt comes twice while its category still has others to offer.

    Raises:
        ValueError: a negative count.
    """
    if count < 0:
        raise ValueError(f"cannot make {count} prompts; use 0 or more")
    rng = source("land-prompts", seed)
    prompts: list[Prompt] = []
    for position, category in enumerate(CATEGORIES):
        share = count // len(CATEGORIES) + (position < count % len(CATEGORIES))
        prompts += _distinct(rng, category, share)
    return tuple(prompts)


def _distinct(rng: Random, category: Category, count: int) -> list[Prompt]:
    chosen: list[Prompt] = []
    seen: set[str] = set()
    while len(chosen) < count:
        for _ in range(_FRESH_TRIES):
            wanted, relation = _WRITERS[category](rng)
            text = _worded(rng, wanted, relation)
            if text not in seen:
                break
        else:
            seen.clear()
        seen.add(text)
        chosen.append(Prompt(category=category, text=text, wanted=tuple(wanted), relation=relation))
    return chosen


def _worded(rng: Random, wanted: Sequence[Wanted], relation: Relation | None) -> str:
    phrases = [want.text for want in wanted]
    said = listing(phrases) if relation is None else f"{phrases[0]} {RELATION_PHRASES[relation][0]} {phrases[1]}"
    if rng.random() < 0.15:
        said = f"a picture of {said}"
    if rng.random() < 0.3:
        said = f"{said} {rng.choice(PLACE_PHRASES[rng.choice(('day', 'night', 'sea', 'meadow', 'snow'))])}"
    return said


_Wish = tuple[list[Wanted], Relation | None]


def _colour(rng: Random, figure: str) -> str:
    usual = USUAL_COLOURS.get(figure, ())
    return rng.choice(usual) if usual and rng.random() < 0.3 else rng.choice(PALETTE)


def _single_object(rng: Random) -> _Wish:
    return [Wanted(figure=rng.choice(NAMES))], None


def _two_objects(rng: Random) -> _Wish:
    return [Wanted(figure=figure) for figure in rng.sample(NAMES, 2)], None


def _counting(rng: Random) -> _Wish:
    figure = rng.choice(NAMES)
    colour = _colour(rng, figure) if rng.random() < 0.5 else None
    return [Wanted(figure=figure, colour=colour, count=rng.randint(2, MAX_THINGS))], None


def _colours(rng: Random) -> _Wish:
    figure = rng.choice(NAMES)
    return [Wanted(figure=figure, colour=_colour(rng, figure))], None


def _pair(rng: Random) -> list[Wanted]:
    """Two things that share neither figure nor colour, so that no property can be read off the wrong one."""
    first, second = rng.sample(NAMES, 2)
    colour = _colour(rng, first)
    others = [name for name in PALETTE if name != colour]
    return [Wanted(figure=first, colour=colour), Wanted(figure=second, colour=rng.choice(others))]


def _position(rng: Random) -> _Wish:
    wanted = _pair(rng) if rng.random() < 0.6 else [Wanted(figure=figure) for figure in rng.sample(NAMES, 2)]
    return wanted, rng.choice(RELATIONS)


def _colour_attribution(rng: Random) -> _Wish:
    return _pair(rng), None


def _two_counted(rng: Random) -> _Wish:
    first, second = _pair(rng)
    if rng.random() < 0.4:
        first, second = Wanted(figure=first.figure), Wanted(figure=second.figure)
    count = rng.randint(1, 4)
    other = rng.randint(2 if count == 1 else 1, min(4, MAX_THINGS - count))
    return [
        Wanted(figure=first.figure, colour=first.colour, count=count),
        Wanted(figure=second.figure, colour=second.colour, count=other),
    ], None


_WRITERS: Mapping[Category, Callable[[Random], _Wish]] = MappingProxyType(
    {
        "single_object": _single_object,
        "two_objects": _two_objects,
        "counting": _counting,
        "colours": _colours,
        "position": _position,
        "colour_attribution": _colour_attribution,
        "two_counted": _two_counted,
    }
)


def grading_questions(count: int, seed: int, *, kinds: Sequence[Kind] = KINDS) -> list[tuple[Scene, Question]]:
    """`count` questions, each on a scene of its own, the kinds of question taking turns; the same each time.

    Raises:
        ValueError: a negative count.
    """
    if count < 0:
        raise ValueError(f"cannot ask {count} questions; use 0 or more")
    rng = source("land-questions", seed)
    asked: list[tuple[Scene, Question]] = []
    while len(asked) < count:
        kind = kinds[len(asked) % len(kinds)]
        scene = any_scene(rng)
        found = candidates(scene, rng, kind)
        if found:
            asked.append((scene, found[-1]))
    return asked
