"""Base64 and data URLs as libraries, browsers and people write them."""

from __future__ import annotations

import base64
import contextlib
import urllib.parse

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flashu_core import InvalidRequestError
from server.images.data_urls import is_address, read_base64

FILE = bytes(range(256)) * 3 + b"?>"  # every digit of both alphabets
TEXT = base64.b64encode(FILE).decode()
SAFE = base64.urlsafe_b64encode(FILE).decode()


@pytest.mark.parametrize(
    "text",
    [
        TEXT,
        TEXT.rstrip("="),
        SAFE,
        SAFE.rstrip("="),
        "\n".join(TEXT[at : at + 76] for at in range(0, len(TEXT), 76)) + "\r\n",
        " " + TEXT.replace("A", "A \t") + " ",
        "data:image/png;base64," + TEXT,
        "DATA:IMAGE/PNG;BASE64," + SAFE,
        "data:;base64," + TEXT,
        "data:application/octet-stream;base64," + TEXT,
        "data:image/jpeg;charset=utf-8;base64," + TEXT,
        'data:image/svg+xml;name="a picture; of mine.png";base64,' + TEXT,
        'data:image/png;name="one, two.png";base64,' + TEXT,
        "data:image/png;name=x;charset=utf-8;base64," + TEXT,
        "data:image/png; charset=utf-8 ; base64 , " + TEXT,
        "data:image/*;base64," + TEXT,
        "data:binary/octet-stream;base64," + TEXT,
        "data:image/png; base64, " + TEXT,
        "\n data:image/x-icon;a=b;c=d;base64," + TEXT,
        "data:image/png;base64," + urllib.parse.quote(TEXT, safe=""),
    ],
    ids=range(20),
)
def test_forms_that_are_read(text: str) -> None:
    assert read_base64(text.encode()) == FILE


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("%%%", "not base64"),
        ("a.b.", "not base64"),
        ("aGk%3D", "not base64"),  # escapes belong into data URLs
        ("abcde", "cut base64"),
        ("https://a/b.png", "an address"),
        (" HTTP://a/b.png", "an address"),
        ("data:text/plain;base64,aGk=", "no picture"),
        ("data:text/html,<b>", "no picture"),
        ("data:image/png,abc", "without base64"),
        ("data:image/svg+xml;utf8,<svg/>", "another form"),
        ("data:image/png;base64", "another form"),
        ("data:", "another form"),
        ("data:image/png;base64;a=b,aGk=", "another form"),
    ],
)
def test_forms_that_are_refused(text: str, words: str) -> None:
    with pytest.raises(InvalidRequestError, match=words) as caught:
        read_base64(text.encode())
    assert caught.value.parameter == "image"


@given(st.binary(max_size=200))
def test_whatever_is_sent_is_read_or_refused(text: bytes) -> None:
    with contextlib.suppress(InvalidRequestError):
        read_base64(text)


@given(st.binary(max_size=200), st.booleans(), st.booleans())
def test_whatever_is_written_is_read(file: bytes, safe: bool, padded: bool) -> None:
    text = (base64.urlsafe_b64encode if safe else base64.b64encode)(file)
    assert read_base64(text if padded else text.rstrip(b"=")) == file


def test_a_long_head_takes_no_time() -> None:
    """Nor does one whose parts could be split in many ways."""
    for head in (
        b"data:" + b"a" * 10**7,
        b"data:image/png" + b";a=b" * 10**6,
        b"data:image/png;" + b"a" * 10**7,
        b"data:image/png" + b" " * 10**7,
        b"data:image/png;a=" + b" " * 10**7,
        b"data:image/png" + (b";a=" + b" " * 256) * 8 + b" " * 10**7,
        b'data:image/png;a="' + b'" ' * 10**7,
    ):
        with pytest.raises(InvalidRequestError, match="another form"):
            read_base64(head)


def test_addresses() -> None:
    assert is_address("https://a/b.png") and is_address("HTTP://a")
    assert not is_address("data:image/png;base64,") and not is_address("")
