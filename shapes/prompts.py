"""The prompts and questions that the models are graded on, in GenEval's six categories and ours of questions.

It knows what each prompt asks for in terms a grader can check.  It uses the captions' own wordings, and it
does not judge pictures or answers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random
from types import MappingProxyType
from typing import Literal, get_args

from shapes.captions import counted, described
from shapes.questions import QUESTION_KINDS, Question, candidates
from shapes.scene import HELD_OUT, sample_scene
from shapes.seeds import grading_rng
from shapes.things import (
    COLOURS,
    FORMS,
    MAX_THINGS,
    RELATIONS,
    SIZES,
    Colour,
    Form,
    Kind,
    Relation,
    Scene,
    Size,
)

Category = Literal["single_object", "two_objects", "counting", "colours", "position", "colour_attribution"]
CATEGORIES: tuple[Category, ...] = get_args(Category)

_FRESH_TRIES = 400
_SIZED: tuple[tuple[Size, Size], ...] = (("large", "small"), ("small", "large"))


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """A number of things of one form; colour and size are None where the prompt leaves them open.

    Raises ValueError for an unknown form, colour or size, or a count outside 1-4.
    """

    form: Form
    colour: Colour | None = None
    size: Size | None = None
    count: int = 1

    def __post_init__(self) -> None:
        if self.form not in FORMS or (self.colour is not None and self.colour not in COLOURS):
            raise ValueError(f"unknown form or colour: {self.form!r}, {self.colour!r}")
        if self.size is not None and self.size not in SIZES:
            raise ValueError(f"unknown size: {self.size!r}")
        if not 1 <= self.count <= MAX_THINGS:
            raise ValueError(f"a prompt wants 1 to {MAX_THINGS} of a thing, not {self.count}")

    @property
    def text(self) -> str:
        """The wish in the captions' wording: "three red circles"."""
        return counted(self.count, described(self.form, self.colour, self.size))


@dataclass(frozen=True, kw_only=True, slots=True)
class Prompt:
    """A prompt and what a picture must show for it; with `relation`, the first wanted lies so to the second.

    Raises ValueError for nothing wanted, or a relation between other than two single things.
    """

    category: Category
    text: str
    wanted: tuple[Wanted, ...]
    relation: Relation | None = None

    def __post_init__(self) -> None:
        if self.category not in CATEGORIES or not self.text or not self.wanted:
            raise ValueError(f"not a prompt: {self.category!r}, {self.text!r}, {self.wanted!r}")
        if self.relation is not None and [want.count for want in self.wanted] != [1, 1]:
            raise ValueError("a relation is between two single things")

    @property
    def held_out(self) -> bool:
        """Whether the prompt asks for a pairing of colour and form that training never shows beside other things."""
        kinds = {(want.colour, want.form) for want in self.wanted}
        return len(kinds) > 1 and any(kind in HELD_OUT for kind in kinds)


def grading_prompts(count: int, seed: int) -> tuple[Prompt, ...]:
    """`count` prompts, as many of each category as of any other (the first ones take what is left over).

    The same count and seed always give the same prompts.  No prompt comes twice while its category still
    has others to offer; raises ValueError for a negative count.
    """
    if count < 0:
        raise ValueError(f"cannot make {count} prompts")
    rng = grading_rng(seed)
    prompts: list[Prompt] = []
    for position, category in enumerate(CATEGORIES):
        share = count // len(CATEGORIES) + (position < count % len(CATEGORIES))
        prompts += _distinct(rng, _WRITERS[category], share)
    return tuple(prompts)


def _distinct(rng: Random, writer: Callable[[Random], Prompt], count: int) -> list[Prompt]:
    """Prompts of one category; once no new one turns up, a new round begins that may repeat the old ones."""
    chosen: list[Prompt] = []
    seen: set[str] = set()
    while len(chosen) < count:
        for _ in range(_FRESH_TRIES):
            prompt = writer(rng)
            if prompt.text not in seen:
                break
        else:
            seen.clear()
        seen.add(prompt.text)
        chosen.append(prompt)
    return chosen


def _pictured(rng: Random, text: str) -> str:
    """The phrase itself, or one time in four as a picture of it."""
    return f"a picture of {text}" if rng.random() < 0.25 else text


def _single_object(rng: Random) -> Prompt:
    want = Wanted(form=rng.choice(FORMS))
    text = f"one {want.form}" if rng.random() < 0.25 else _pictured(rng, want.text)
    return Prompt(category="single_object", text=text, wanted=(want,))


def _two_objects(rng: Random) -> Prompt:
    first, second = (Wanted(form=form) for form in rng.sample(FORMS, 2))
    text = _pictured(rng, f"{first.text} and {second.text}")
    return Prompt(category="two_objects", text=text, wanted=(first, second))


def _counting(rng: Random) -> Prompt:
    colour = rng.choice(COLOURS) if rng.random() < 0.5 else None
    want = Wanted(form=rng.choice(FORMS), colour=colour, count=rng.randint(2, MAX_THINGS))
    return Prompt(category="counting", text=_pictured(rng, want.text), wanted=(want,))


def _colours(rng: Random) -> Prompt:
    want = Wanted(form=rng.choice(FORMS), colour=rng.choice(COLOURS))
    return Prompt(category="colours", text=_pictured(rng, want.text), wanted=(want,))


def _two_kinds(rng: Random) -> tuple[Kind, Kind]:
    """Two kinds that share neither colour nor form, so that no property can be read off the wrong thing."""
    forms, colours = rng.sample(FORMS, 2), rng.sample(COLOURS, 2)
    return (colours[0], forms[0]), (colours[1], forms[1])


def _position(rng: Random) -> Prompt:
    (first_colour, first_form), (second_colour, second_form) = _two_kinds(rng)
    related = rng.choice(RELATIONS)
    draw = rng.random()
    if draw < 0.25:
        wanted = (Wanted(form=first_form), Wanted(form=second_form))
    else:
        sizes: tuple[Size | None, Size | None] = rng.choice(_SIZED) if draw < 0.5 else (None, None)
        wanted = (
            Wanted(form=first_form, colour=first_colour, size=sizes[0]),
            Wanted(form=second_form, colour=second_colour, size=sizes[1]),
        )
    text = f"{wanted[0].text} {related} {wanted[1].text}"
    return Prompt(category="position", text=text, wanted=wanted, relation=related)


def _colour_attribution(rng: Random) -> Prompt:
    first, second = (Wanted(form=form, colour=colour) for colour, form in _two_kinds(rng))
    text = f"{first.text} and {second.text}"
    return Prompt(category="colour_attribution", text=text, wanted=(first, second))


_WRITERS: Mapping[Category, Callable[[Random], Prompt]] = MappingProxyType(
    {
        "single_object": _single_object,
        "two_objects": _two_objects,
        "counting": _counting,
        "colours": _colours,
        "position": _position,
        "colour_attribution": _colour_attribution,
    }
)


def grading_questions(
    count: int, seed: int, *, held_out: frozenset[Kind] = frozenset()
) -> list[tuple[Scene, Question]]:
    """`count` questions, each on a scene of its own, the kinds of question taking turns.

    The scenes come from the training mix but from other seeds, and include pairings held out of training
    unless these are given as `held_out`.  Raises ValueError for a negative count.
    """
    if count < 0:
        raise ValueError(f"cannot make {count} questions")
    # Another draw than that of the prompts, so that the two sets share nothing but the seed's number.
    rng = Random(grading_rng(seed).getrandbits(64) ^ 1)
    asked: list[tuple[Scene, Question]] = []
    while len(asked) < count:
        kind = QUESTION_KINDS[len(asked) % len(QUESTION_KINDS)]
        scene = sample_scene(rng, held_out=held_out)
        found = candidates(scene, rng, kind)
        if found:
            # The last one, as `questions` takes it: the order is what keeps the answers in balance.
            asked.append((scene, found[-1]))
    return asked
