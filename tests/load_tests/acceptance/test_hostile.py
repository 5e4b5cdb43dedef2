"""Hostile messages are what their names say."""

from __future__ import annotations

import base64
import io
import json
import struct
import zlib

import pytest
from PIL import Image

from load_tests.acceptance import hostile
from load_tests.bench.client import Message


def picture(message: Message) -> bytes:
    return base64.b64decode(json.loads(message.body)["image"])


def test_pictures_say_they_are_large_or_unpack_to_much() -> None:
    made = {name: picture(message) for name, message in hostile.pictures().items()}
    assert struct.unpack(">II", made["30,000 x 30,000, sent"][16:24]) == (30_000, 30_000)
    assert all(len(file) < 4_000_000 for file in made.values())
    assert made["1000 scans of 4,000 x 4,000"].count(b"\xff\xda") == 1001
    for kind in (b"zTXt", b"iTXt"):
        file = hostile.text_bomb(kind)
        packed = file[file.index(b"\x78", file.index(kind)) :]
        assert len(zlib.decompressobj().decompress(packed)) == 100_000_000
    for count, name in ((10_000, "10,000 frames"), (100_000, "100,000 frames")):
        assert made[name].count(b"\x21\xf9") + made[name].count(b"\x2c\0\0\0\0\x08") >= count
    with Image.open(io.BytesIO(made["10,000 frames"])) as image:
        image.seek(20)
        assert image.size == (8, 8)


def test_numbers_are_in_every_numeric_field() -> None:
    messages = hostile.numbers()
    assert len(messages) == 5 * 10 + 5 * 10 + 2 * 2
    assert {message.path for message in messages.values()} == {"/v1/generate", "/v1/vqa"}
    parsed = json.loads(messages["/v1/vqa temperature: 1e999"].body)
    assert parsed["temperature"] == float("inf")


def test_deep_bodies_are_too_deep_for_python_s_reader() -> None:
    with pytest.raises(RecursionError):
        json.loads(hostile.bodies()["lists, 100,000 deep"].body)


def test_endless_bodies_are_more_than_a_gigabyte_or_ever_so_many_pieces() -> None:
    for endless in hostile.endless_bodies().values():
        pieces = endless.pieces()
        sizes = [len(piece) for piece in pieces]
        assert sum(sizes) > 1e9 or len(sizes) >= 20_000
    chunk = next(iter(hostile.endless_bodies()["fields in chunks"].pieces()))
    size, _, rest = chunk.partition(b"\r\n")
    assert len(rest) == int(size, 16) + 2
