"""Questions about a scene whose answers are one or two words and beyond dispute.

It knows what may be asked of which scene and how often each answer should come; it does not read pictures,
and it compares answers only as text.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import zip_longest
from random import Random
from types import MappingProxyType
from typing import Literal, get_args

from shapes.captions import LONG_RELATIONS, NUMBERS, described
from shapes.things import COLOURS, FORMS, KINDS, OPPOSITES, SIZES, Relation, Scene, Thing, region, relation

QuestionKind = Literal["is there", "what colour", "what shape", "how many", "where"]
QUESTION_KINDS: tuple[QuestionKind, ...] = get_args(QuestionKind)

TEMPLATES: Mapping[QuestionKind, tuple[str, ...]] = MappingProxyType(
    {
        "is there": ("is there a {}?", "is there a {} in the picture?", "can you see a {}?"),
        "what colour": ("what colour {} the {}?", "which colour {} the {}?"),
        "what shape": ("what shape {} the {}?", "which shape {} the {}?"),
        "how many": ("how many {} are there?", "how many {} are in the picture?", "how many {} can you see?"),
        "where": ("where is the {}?", "where is the {} in the picture?"),
    }
)
_AXES: Mapping[Relation, str] = MappingProxyType(
    {
        "left of": "left or right of",
        "right of": "left or right of",
        "above": "above or below",
        "below": "above or below",
    }
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """A question with its one right answer; raises ValueError for an unknown kind or empty words."""

    kind: QuestionKind
    text: str
    answer: str

    def __post_init__(self) -> None:
        if self.kind not in QUESTION_KINDS or not self.text or not self.answer:
            raise ValueError(f"not a question: {self.kind!r}, {self.text!r}, {self.answer!r}")


def exact_match(answer: str, expected: str) -> bool:
    """Whether two answers agree, letter case, outer spaces, a final full stop and digits aside."""
    return _plain(answer) == _plain(expected)


def _plain(answer: str) -> str:
    text = answer.strip().lower().removesuffix(".").strip()
    return NUMBERS[int(text)] if text in ("0", "1", "2", "3", "4") else text


def questions(scene: Scene, rng: Random, count: int) -> list[Question]:
    """Up to `count` distinct questions on the scene, spread over the kinds; fewer where no more exist."""
    pools = [candidates(scene, rng, kind) for kind in QUESTION_KINDS]
    rng.shuffle(pools)
    chosen: list[Question] = []
    while len(chosen) < count and any(pools):
        for pool in pools:
            if pool and len(chosen) < count:
                chosen.append(pool.pop())
    return chosen


def candidates(scene: Scene, rng: Random, kind: QuestionKind) -> list[Question]:
    """Every question of one kind that the scene answers clearly, each worded once, in random order."""
    return _ASKERS[kind](scene, rng)


def _ask(rng: Random, kind: QuestionKind, answer: str, *words: str) -> Question:
    return Question(kind=kind, text=rng.choice(TEMPLATES[kind]).format(*words), answer=answer)


def _is_there(scene: Scene, rng: Random) -> list[Question]:
    """As many yes as no, alternating after a coin, the nearest misses asked first."""
    kinds = {thing.kind for thing in scene.things}
    colours = {colour for colour, _ in kinds}
    forms = {form for _, form in kinds}
    here = [f"{colour} {form}" for colour, form in kinds]
    here += [*forms, *(f"{colour} object" for colour in colours)]
    # `sorted` first, because the order of a set of strings differs from one process to the next.
    here = rng.sample(sorted(here), len(here))
    misses: list[tuple[float, str]] = []
    for colour, form in KINDS:
        if (colour, form) not in kinds:
            nearness = (colour in colours) + (form in forms)
            misses.append((nearness + rng.random(), f"{colour} {form}"))
    misses += [(1.0 + rng.random(), form) for form in FORMS if form not in forms]
    misses += [(1.0 + rng.random(), f"{colour} object") for colour in COLOURS if colour not in colours]
    absent = [text for _, text in sorted(misses, reverse=True)[: len(here)]]
    pairs = [[("yes", yes), ("no", no)] for yes, no in zip(here, absent, strict=False)]
    flip = rng.random() < 0.5
    return [
        _ask(rng, "is there", answer, text)
        for pair in reversed(pairs)
        for answer, text in (pair[::-1] if flip else pair)
    ]


def _subjects(scene: Scene, rng: Random, *, by: Literal["form", "colour"]) -> list[tuple[str, list[Thing]]]:
    """Ways to point at things by form or by colour, with or without size, and what each points at."""
    pointed: dict[str, list[Thing]] = {}
    for thing in scene.things:
        word = thing.form if by == "form" else f"{thing.colour} object"
        pointed.setdefault(word, []).append(thing)
        pointed.setdefault(f"{thing.size} {word}", []).append(thing)
        if by == "colour":
            pointed.setdefault(f"{thing.size} object", []).append(thing)
    if len(scene.things) == 1:
        pointed["object"] = [scene.things[0]]
    return rng.sample(list(pointed.items()), len(pointed))


def _about(verb_subject: str, things: list[Thing]) -> tuple[str, str]:
    return ("is", verb_subject) if len(things) == 1 else ("are", f"{verb_subject}s")


def _what_colour(scene: Scene, rng: Random) -> list[Question]:
    asked = [
        _ask(rng, "what colour", things[0].colour, *_about(subject, things))
        for subject, things in _subjects(scene, rng, by="form")
        if len({thing.colour for thing in things}) == 1
    ]
    background = _ask(rng, "what colour", scene.background, "is", "background")
    # Put anywhere, so that it is asked about as often as any one thing.
    asked.insert(rng.randint(0, len(asked)), background)
    return asked


def _what_shape(scene: Scene, rng: Random) -> list[Question]:
    return [
        _ask(rng, "what shape", things[0].form, *_about(subject, things))
        for subject, things in _subjects(scene, rng, by="colour")
        if len({thing.form for thing in things}) == 1
    ]


def _how_many(scene: Scene, rng: Random) -> list[Question]:
    numbers: Counter[str] = Counter()
    for thing in scene.things:
        numbers.update(["objects", f"{thing.form}s", f"{thing.colour} objects", f"{thing.colour} {thing.form}s"])
    numbers.update(f"{size} objects" for size in SIZES for thing in scene.things if thing.size == size)
    zeros = [f"{form}s" for form in FORMS] + [f"{colour} objects" for colour in COLOURS]
    by_number: dict[int, list[str]] = {}
    for subject in rng.sample(list(numbers), len(numbers)):
        by_number.setdefault(numbers[subject], []).append(subject)
    # The numbers take turns, since otherwise "one" would answer most questions about most scenes.
    pools = rng.sample(list(by_number.values()), len(by_number))
    turns = [subject for turn in zip_longest(*pools) for subject in turn if subject is not None]
    # A few questions whose answer is zero are enough, among them one about a pairing that is nearly there.
    misses = [f"{c} {f}s" for c, f in KINDS if f"{c} objects" in numbers and f"{f}s" in numbers]
    for pool in (zeros, misses):
        absent = [text for text in pool if text not in numbers]
        if absent:
            turns.insert(rng.randint(0, len(turns)), rng.choice(absent))
    return [_ask(rng, "how many", NUMBERS[numbers[subject]], subject) for subject in reversed(turns)]


def _where(scene: Scene, rng: Random) -> list[Question]:
    kinds = Counter(thing.kind for thing in scene.things)
    lone = [thing for thing in scene.things if kinds[thing.kind] == 1]
    names = {thing.kind: described(thing.form, thing.colour) for thing in lone}
    asked: list[Question] = []
    if len(scene.things) == 1:
        thing, place = scene.things[0], region(scene.things[0])
        if place is not None:
            subjects = rng.sample([names[thing.kind], thing.form, "object"], 3)
            asked += [_ask(rng, "where", place, subject) for subject in subjects]
    for first in lone:
        for second in lone:
            found = relation(first, second) if first is not second else None
            if found is not None:
                asked += _relations(rng, names[first.kind], found, names[second.kind])
    rng.shuffle(asked)
    return asked


def places(scene: Scene, rng: Random) -> list[Question]:
    """Where each thing is that is the only one of its kind, in scenes of any number: for training, never graded."""
    kinds = Counter(thing.kind for thing in scene.things)
    return [
        _ask(rng, "where", place, described(thing.form, thing.colour))
        for thing in rng.sample(scene.things, len(scene.things))
        if kinds[thing.kind] == 1 and (place := region(thing)) is not None
    ]


def _relations(rng: Random, first: str, found: Relation, second: str) -> list[Question]:
    true = rng.random() < 0.5
    claimed = found if true else OPPOSITES[found]
    wording = rng.choice([claimed, LONG_RELATIONS[claimed]])
    return [
        Question(kind="where", text=f"is the {first} {wording} the {second}?", answer="yes" if true else "no"),
        Question(
            kind="where",
            text=f"where is the {first}, {_AXES[found]} the {second}?",
            answer=found.removesuffix(" of"),
        ),
    ]


_ASKERS: Mapping[QuestionKind, Callable[[Scene, Random], list[Question]]] = MappingProxyType(
    {
        "is there": _is_there,
        "what colour": _what_colour,
        "what shape": _what_shape,
        "how many": _how_many,
        "where": _where,
    }
)
