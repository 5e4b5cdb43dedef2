"""How long it takes to tell a text's task: what a text holds, and what normalising makes of it, bounds it."""

from __future__ import annotations

import itertools
import random
import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.intent import classify as routing
from server.intent.classify import Unrouted, classify
from server.intent.languages.european import LATIN
from server.intent.languages.others import OTHERS


def pieces() -> list[str]:
    """What repeats badly: marks, words of the patterns themselves, and characters that normalising makes longer."""
    words = {
        word
        for language in (*LATIN, *OTHERS)
        for pattern in (
            *language.polite,
            *language.draws,
            *language.asks,
            *language.forbids,
            *language.refers,
            *language.edits,
        )
        for word in re.findall(r"\w{2,}", pattern)
    }
    chosen = random.Random(3).sample(sorted(words), 40)
    joined = [word + mark for word, mark in zip(chosen, itertools.cycle([" ", ", ", " - ", ". ", "? ", "\ufdfa"]))]
    marks = [
        "draw",
        "not ",
        "a ",
        '"',
        "“",
        "„",
        "«",
        "「",
        ",",
        "? ",
        "请",
        "make a ",
        "ein ",
        "का ",
        "\u0301",
        "그림 ",
    ]
    return [*marks, "\ufdfa", "\ufdfa, ", "\ufdfb", "\u2057", "\u33ff", "ẞ", "ΐ", *joined]


@pytest.mark.parametrize("piece", pieces())
def test_no_text_takes_long(piece: str) -> None:
    """Patterns that backtrack, and what normalising makes of a text, are bounded: the worst takes a few milliseconds.
    It is given fifty, of this thread's own time: some took hundreds."""
    for text in (piece * 20_000, "draw " + piece * 20_000, piece * 20_000 + "image"):
        assert len(routing._plain(text)) <= 2 * routing._MAX_PART + 1
        spent = []
        for _ in range(3):
            began = time.thread_time()
            assert classify(Unrouted(text=text)).task in ("generate", "vqa")
            spent.append(time.thread_time() - began)
        assert min(spent) < 0.05


@settings(deadline=None, max_examples=200)
@given(st.text(st.sampled_from(["a", "\ufdfa", "\u0301", "ẞ", "가", '"', "\n"]), max_size=3000))
def test_what_is_read_is_bounded_after_normalising(text: str) -> None:
    assert len(routing._plain(text)) <= 2 * routing._MAX_PART + 1


def test_anchored_patterns_stand_alone() -> None:
    """A pattern that begins with `^` is tried at the beginning only, so it must not hold another alternative."""
    for language in (*LATIN, *OTHERS):
        for pattern in (
            *language.draws,
            *language.phrases,
            *language.asks,
            *language.forbids,
            *language.refers,
            *language.edits,
        ):
            depth, plain = 0, re.sub(r"\\.|\[[^]]*\]", "", pattern)
            for character in plain:
                depth += (character == "(") - (character == ")")
                assert not (character == "|" and depth == 0 and plain.startswith("^")), pattern
