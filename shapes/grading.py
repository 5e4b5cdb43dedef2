"""Judging whether a picture shows what a prompt asks for.

It follows GenEval: objects are found in the picture and compared with the prompt's wishes. It does not know which model
made a picture or why.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from shapes.finding import Found, find_objects
from shapes.prompts import Prompt, Wanted
from shapes.things import EXTENTS, Relation

# A relation holds within 60 degrees of its direction and beyond a tenth of the picture, much as in GenEval.
_LEAST_OFFSET = 0.1
_LEAST_SLOPE = 0.577
_LEAST_SIZE_RATIO = 1.2
# Half the area of a small triangle: a formless patch of this size is a failed object, not a speck.
_BLOB_AREA = EXTENTS["small"] ** 2


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
