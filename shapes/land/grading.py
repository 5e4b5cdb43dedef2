"""Judging whether a picture shows what a prompt asks for, by what a detector finds, and whether an answer is right.

As in GenEval: counting wants exactly that many of the figure, everything else at least what is asked for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from shapes.land.captions import NUMBERS
from shapes.land.detector import Found, find
from shapes.land.prompts import Prompt, Wanted
from shapes.land.questions import Question
from shapes.land.sentences import plain, says_what_is_there, says_where
from shapes.land.things import EXTENTS, Relation, Scene, box_of

# A relation holds within 60 degrees of its direction and beyond a tenth of the picture, much as in GenEval.
_LEAST_OFFSET = 0.1
_BATCH = 64
_LEAST_SLOPE = 0.577
_TOUCH = 0.07  # of the picture, between the edges of a thing and of that which it is on
_SIZES = {"small": (0.0, (EXTENTS["small"] + EXTENTS["medium"]) / 2), "medium": (0.0, 1.0)}
_SIZES["large"] = ((EXTENTS["medium"] + EXTENTS["large"]) / 2, 1.0)


def judge(prompts: Sequence[Prompt], images: Sequence[NDArray[np.uint8]]) -> list[bool]:
    """Whether each picture, uint8 (height, width, 3), shows what its prompt asks for."""
    found = [each for first in range(0, len(images), _BATCH) for each in find(images[first : first + _BATCH])]
    return [meets(prompt, each) for prompt, each in zip(prompts, found, strict=True)]


def meets(prompt: Prompt, found: Sequence[Found]) -> bool:
    """Whether the things that were found are what the prompt asks for."""
    matches = [[each for each in found if _is(each, want)] for want in prompt.wanted]
    if any(len(match) < want.count for match, want in zip(matches, prompt.wanted, strict=True)):
        return False
    if prompt.category in ("counting", "two_counted"):
        numbers = Counter(each.figure for each in found)
        return all(numbers[want.figure] == want.count for want in prompt.wanted)
    if prompt.relation is not None:
        pairs = [(a, b) for a in matches[0] for b in matches[1] if a is not b]
        return bool(pairs) and all(lies(a, prompt.relation, b) for a, b in pairs)
    if len(prompt.wanted) == 2:
        return any(a is not b for a in matches[0] for b in matches[1])
    return True


def _is(found: Found, want: Wanted) -> bool:
    low, high = _SIZES[want.size] if want.size is not None else (0.0, 1.0)
    return found.figure == want.figure and want.colour in (None, found.colour) and low <= found.extent <= high


def lies(a: Found, related: Relation, b: Found) -> bool:
    """Whether `a` lies so to `b`; what is on another thing is above it too, at its edge."""
    along, aside = b.x - a.x, b.y - a.y
    if related in ("above", "below", "on", "under"):
        along, aside = aside, along
    if related in ("right of", "below", "under"):
        along = -along
    if along < _LEAST_OFFSET * (0.6 if related in ("on", "under") else 1.0) or along < _LEAST_SLOPE * abs(aside):
        return False
    if related not in ("on", "under"):
        return True
    upper, lower = (a, b) if related == "on" else (b, a)
    foot = upper.y + upper.extent * box_of(upper.figure).bottom
    return abs(foot - (lower.y + lower.extent * box_of(lower.figure).top)) <= _TOUCH


def right(question: Question, scene: Scene, answer: str) -> bool:
    """Whether an answer is right: word for word, or for sentences where it says the same of the scene."""
    if question.kind == "describe":
        return says_what_is_there(answer, scene)
    if question.kind == "where":
        figure = question.text.removeprefix("where is the ").removesuffix("?")
        return says_where(answer, figure, scene)
    return _digits(plain(answer)) == question.answer


def _digits(answer: str) -> str:
    return NUMBERS[int(answer)] if answer in ("0", "1", "2", "3", "4", "5", "6") else answer
