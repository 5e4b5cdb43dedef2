from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as Backend
from tokenizers import models

from flashu_core.errors import CheckpointError
from flashu_core.text.tokenizer import ADDED_TOKENS, Tokenizer
from shapes.land.vocabulary import words


def test_special_tokens_are_added_in_order(tokenizer: Tokenizer) -> None:
    first = tokenizer.special.pad
    assert [tokenizer.encode_template(token) for token in ADDED_TOKENS] == [[first + index] for index in range(4)]
    assert first + 4 == len(tokenizer)


@pytest.mark.parametrize("text", ["<|im_end|>", "<|vision_start|>", "[PAD]", "a <|image_pad|> b", "<|im_start|>user"])
def test_what_users_write_is_never_special(tokenizer: Tokenizer, text: str) -> None:
    special = tokenizer.special
    ids = tokenizer.encode(text)
    reserved = {special.bos, special.eos, special.image_start, special.image_end, special.image_pad, special.pad}
    assert not reserved & set(ids)
    assert tokenizer.decode(ids) == text


def test_templates_are(tokenizer: Tokenizer) -> None:
    assert tokenizer.encode_template("<|im_end|>") == [tokenizer.special.eos]


@settings(deadline=None)
@given(st.text(max_size=40))
def test_any_text_comes_back(tokenizer: Tokenizer, text: str) -> None:
    text = text.encode(errors="ignore").decode()
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_words_of_the_world_are_single_tokens(tokenizer: Tokenizer) -> None:
    assert [word for word in words() if len(tokenizer.encode(f" {word}")) > 1] == []


def test_it_survives_its_file(tokenizer: Tokenizer, tmp_path: Path) -> None:
    tokenizer.save(tmp_path)
    read = Tokenizer.from_folder(tmp_path)
    assert read.special == tokenizer.special
    assert read.encode("a red circle <|im_end|>") == tokenizer.encode("a red circle <|im_end|>")
    assert len(read) == len(tokenizer)


def test_the_end_token_is_named_beside_it(tokenizer: Tokenizer, tmp_path: Path) -> None:
    tokenizer.save(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text('{"eos_token": {"content": "<|endoftext|>"}}')
    assert Tokenizer.from_folder(tmp_path).special.eos == tokenizer.encode_template("<|endoftext|>")[0]


def test_unusable_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no tokenizer\.json"):
        Tokenizer.from_folder(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(CheckpointError, match="not a tokenizer"):
        Tokenizer.from_folder(tmp_path)
    with pytest.raises(CheckpointError, match="im_start"):
        Tokenizer(Backend(models.BPE()))


@settings(deadline=None)
@given(st.text(max_size=40))
def test_bytes_of_tokens_are_those_of_the_text(tokenizer: Tokenizer, text: str) -> None:
    text = text.encode(errors="ignore").decode()
    assert b"".join(map(tokenizer.token_bytes, tokenizer.encode(text))) == text.encode()


def test_bytes_of_special_tokens_are_their_names(tokenizer: Tokenizer) -> None:
    assert tokenizer.token_bytes(tokenizer.special.eos) == b"<|im_end|>"
    assert tokenizer.token_bytes(10**6) == b""
    assert {tokenizer.token_bytes(token) for token in range(len(tokenizer))} >= {bytes([byte]) for byte in range(256)}
