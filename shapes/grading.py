"""Judging whether a picture shows what a prompt asks for, and adding judgements up to a score.

It follows GenEval: objects are found in the picture and compared with the prompt's wishes, and the score is
the mean of the six categories' means.  It does not know which model made a picture or why.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from shapes.finding import Found, find_objects
from shapes.prompts import CATEGORIES, Category, Prompt, Wanted
from shapes.things import EXTENTS, Relation

__all__ = ["Found", "Proportion", "Score", "find_objects", "judge", "meets", "score", "wilson"]

# A relation holds within 60 degrees of its direction and beyond a tenth of the picture, much as in GenEval.
_LEAST_OFFSET = 0.1
_LEAST_SLOPE = 0.577
_LEAST_SIZE_RATIO = 1.2
# Half the area of a small triangle: a formless patch of this size is a failed object, not a speck.
_BLOB_AREA = EXTENTS["small"] ** 2
_NORMAL_95 = 1.959964


def judge(prompt: Prompt, image: NDArray[np.uint8]) -> bool:
    """Whether an image, uint8 of (height, width, 3), shows what the prompt asks for."""
    return meets(prompt, find_objects(image))


def meets(prompt: Prompt, found: Sequence[Found]) -> bool:
    """Whether the objects found are what the prompt asks for.

    Counting wants exactly that many of the form and no formless patch beside them.  Everything else wants at
    least what is asked for; where several things could be meant, a relation must hold for all of them.
    """
    matches = [_matching(want, prompt, found) for want in prompt.wanted]
    if any(len(match) < want.count for match, want in zip(matches, prompt.wanted, strict=True)):
        return False
    if prompt.category == "counting":
        return _exactly(prompt.wanted, found)
    if len(prompt.wanted) == 2:
        pairs = [(a, b) for a in matches[0] for b in matches[1] if a is not b]
        return bool(pairs) and all(_pair_holds(prompt, a, b) for a, b in pairs)
    return True


def _matching(want: Wanted, prompt: Prompt, found: Sequence[Found]) -> list[Found]:
    """The objects that a wish may mean; two sizes side by side are compared with each other instead."""
    compared = len({other.size for other in prompt.wanted} - {None}) == 2
    return [
        each
        for each in found
        if each.form == want.form
        and want.colour in (None, each.colour)
        and (compared or want.size in (None, each.size))
    ]


def _exactly(wanted: Sequence[Wanted], found: Sequence[Found]) -> bool:
    counts = dict.fromkeys({want.form for want in wanted}, 0)
    for want in wanted:
        counts[want.form] += want.count
    blobs = any(each.form is None and each.area >= _BLOB_AREA for each in found)
    return not blobs and all(sum(each.form == form for each in found) == count for form, count in counts.items())


def _pair_holds(prompt: Prompt, a: Found, b: Found) -> bool:
    sizes = (prompt.wanted[0].size, prompt.wanted[1].size)
    if sizes == ("large", "small") and a.extent < _LEAST_SIZE_RATIO * b.extent:
        return False
    if sizes == ("small", "large") and b.extent < _LEAST_SIZE_RATIO * a.extent:
        return False
    return prompt.relation is None or _lies(a, prompt.relation, b)


def _lies(a: Found, related: Relation, b: Found) -> bool:
    along, aside = b.x - a.x, b.y - a.y
    if related in ("above", "below"):
        along, aside = aside, along
    if related in ("right of", "below"):
        along = -along
    return along >= _LEAST_OFFSET and along >= _LEAST_SLOPE * abs(aside)


@dataclass(frozen=True, kw_only=True, slots=True)
class Proportion:
    """A share of successes among `count` trials, with the bounds of its 95 % confidence interval."""

    mean: float
    low: float
    high: float
    count: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Score:
    """The shares of prompts met, by category and overall; overall is the plain mean of the categories."""

    categories: Mapping[Category, Proportion]
    overall: Proportion


def wilson(mean: float, count: float) -> tuple[float, float]:
    """The 95 % Wilson score interval of a share `mean` of `count` trials; raises ValueError outside these."""
    if not 0.0 <= mean <= 1.0 or count <= 0:
        raise ValueError(f"not a share of trials: {mean} of {count}")
    square = _NORMAL_95**2 / count
    middle = (mean + square / 2.0) / (1.0 + square)
    reach = _NORMAL_95 * sqrt(mean * (1.0 - mean) / count + square / (4.0 * count)) / (1.0 + square)
    return max(0.0, middle - reach), min(1.0, middle + reach)


def score(results: Iterable[tuple[Category, bool]]) -> Score:
    """The score of judged prompts, given as (category, met); raises ValueError where there are none.

    Categories without a prompt are excluded from the overall mean.
    """
    judged: dict[Category, list[bool]] = {}
    for category, met in results:
        judged.setdefault(category, []).append(met)
    if not judged:
        raise ValueError("there is nothing to score")
    categories = {
        category: _proportion(sum(judged[category]) / len(judged[category]), len(judged[category]))
        for category in CATEGORIES
        if category in judged
    }
    shares = list(categories.values())
    overall = sum(share.mean for share in shares) / len(shares)
    # A mean of unevenly filled categories is less certain than its number of prompts says: count as many
    # trials as equal categories would need for the same variance.
    effective = len(shares) ** 2 / sum(1.0 / share.count for share in shares)
    low, high = wilson(overall, effective)
    return Score(
        categories=MappingProxyType(categories),
        overall=Proportion(mean=overall, low=low, high=high, count=sum(share.count for share in shares)),
    )


def _proportion(mean: float, count: int) -> Proportion:
    low, high = wilson(mean, count)
    return Proportion(mean=mean, low=low, high=high, count=count)
