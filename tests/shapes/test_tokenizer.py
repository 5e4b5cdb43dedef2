from __future__ import annotations

from shapes.land.vocabulary import words
from shapes.tokenizer import build_tokenizer


def test_the_same_tokenizer_every_time() -> None:
    one, other = (build_tokenizer(lines=200) for _ in range(2))
    assert len(one) == len(other) <= 640
    text = "how many squares are there?"
    assert one.encode(text) == other.encode(text)
    assert len(one.encode(text)) == 6


def test_every_word_of_the_land_is_one_token() -> None:
    tokenizer = build_tokenizer()
    assert [word for word in words() if len(tokenizer.encode(f" {word}")) != 1] == []
