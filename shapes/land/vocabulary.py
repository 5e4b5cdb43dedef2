"""Every word that a caption, question or answer about the land may use, and running text made of them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from random import Random

from shapes.land.captions import (
    NUMBERS,
    PLACE_PHRASES,
    REGION_PHRASES,
    RELATION_PHRASES,
    caption,
    plural,
)
from shapes.land.painting import BACKGROUNDS, COLOURS
from shapes.land.questions import DESCRIBE, questions
from shapes.land.scenes import NAMES, sample_scene

_PHRASES = (
    *DESCRIBE,
    *("a picture of a drawing of an", "and between it with"),
    *("is there in the picture", "can you see", "what which colour are", "how many things", "what is it", "where is"),
    *("yes no", "background"),
)


def words() -> tuple[str, ...]:
    """Every word in use, sorted; commas and question marks are not words."""
    phrases = [*_PHRASES, *REGION_PHRASES.values()]
    for wordings in (*RELATION_PHRASES.values(), *PLACE_PHRASES.values()):
        phrases += wordings
    plurals = [plural(name) for name in NAMES]
    known = {*NAMES, *plurals, *COLOURS, "small", "large", *BACKGROUNDS, *NUMBERS}
    return tuple(sorted(known.union(*map(split, phrases))))


def split(line: str) -> list[str]:
    """The words of a line, without its punctuation."""
    return re.findall(r"[a-z]+", line)


def corpus(rng: Random, count: int) -> Iterator[str]:
    """`count` lines of text: captions, and questions each followed by its answer, in turn."""
    for number in range(count):
        scene = sample_scene(rng)
        if number % 2:
            asked = questions(scene, rng, 1)[0]
            yield f"{asked.text} {asked.answer}"
        else:
            yield caption(scene, rng)
