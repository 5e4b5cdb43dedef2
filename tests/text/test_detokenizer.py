from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

from hypothesis import given, settings
from hypothesis import strategies as st

from flashu_core.text.detokenizer import Detokenizer
from flashu_core.text.tokenizer import Tokenizer


def added(tokenizer: Tokenizer, tokens: Sequence[int]) -> Detokenizer:
    detokenizer = tokenizer.detokenizer()
    for token in tokens:
        detokenizer.add(token)
    return detokenizer


@settings(deadline=None)
@given(st.data())
def test_any_tokens_become_the_text_that_they_are_together(tokenizer: Tokenizer, data: st.DataObject) -> None:
    """Also those that are not valid UTF-8, special, or beyond the vocabulary."""
    tokens = data.draw(st.lists(st.integers(0, len(tokenizer) + 3), max_size=40))
    detokenizer = tokenizer.detokenizer()
    for count, token in enumerate(tokens, start=1):
        detokenizer.add(token)
        assert tokenizer.decode(tokens[:count]).startswith(detokenizer.text)
        assert len(detokenizer.ends) <= count
    detokenizer.finish(tokens)
    assert detokenizer.text == tokenizer.decode(tokens)
    assert len(detokenizer.ends) == len(tokens)
    assert detokenizer.ends == sorted(detokenizer.ends)


@settings(deadline=None)
@given(st.lists(st.sampled_from(["a red", " circle", "\u00e4", "\u20ac", "\U0001f600", "\u4e2d"]), max_size=8))
def test_text_that_is_whole_comes_at_once(tokenizer: Tokenizer, pieces: list[str]) -> None:
    detokenizer = tokenizer.detokenizer()
    for piece, whole in zip(pieces, accumulate(pieces), strict=True):
        for token in tokenizer.encode(piece):
            detokenizer.add(token)
        assert detokenizer.text == whole


def test_a_character_comes_with_its_last_token(tokenizer: Tokenizer) -> None:
    tokens = list(tokenizer.encode("\U0001f600"))
    assert len(tokens) > 1
    before = added(tokenizer, tokens[:-1])
    assert (before.text, before.ends) == ("", [])
    before.add(tokens[-1])
    assert (before.text, before.ends) == ("\U0001f600", [1] * len(tokens))
