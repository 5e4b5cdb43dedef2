"""Every word that a caption, question or answer may use, and running text made of them.

It serves tokenizers; it knows nothing of how they split words.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from random import Random

from shapes.captions import NUMBERS, caption
from shapes.questions import questions
from shapes.scene import sample_scene
from shapes.things import BACKGROUNDS, COLOURS, FORMS, REGIONS, SIZES

_CAPTION_WORDS = (
    *("a", "above", "and", "at", "background", "below", "in", "it"),
    *("of", "on", "picture", "right", "the", "to", "with"),
)
_QUESTION_WORDS = (
    *("are", "can", "how", "is", "many", "object", "objects", "or", "see", "shape", "there"),
    *("colour", "what", "where", "which", "yes", "no", "you"),
)


def words() -> tuple[str, ...]:
    """Every word in use, sorted; commas and question marks are not words."""
    plurals = [f"{form}s" for form in FORMS]
    return tuple(
        sorted(
            {
                *(*FORMS, *plurals, *COLOURS, *SIZES, *BACKGROUNDS, *REGIONS, *NUMBERS),
                *(*_CAPTION_WORDS, *_QUESTION_WORDS),
            }
        )
    )


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
