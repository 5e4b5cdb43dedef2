"""The worst file counts in every respect, and the files are what their names say."""

from __future__ import annotations

import struct
from dataclasses import replace

import pytest

from load_tests.acceptance.attacks.pictures import Sent, judge
from load_tests.acceptance.heavy_pictures import SCANS, heavy_pictures

GOOD = Sent(
    name="good",
    statuses=(400, 504),
    seconds=0.1,
    waited_s=0.01,
    question_s=0.2,
    grown=10_000_000,
    decoding=100_000_000,
    used_after_s=0.0,
)


def test_a_quick_rejection_keeps_the_promises() -> None:
    assert {target.verdict for target in judge([GOOD, GOOD])} == {"met"}


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"seconds": 5.0}, "expensive images: answered"),
        ({"waited_s": 0.3}, "/livez beside expensive images"),
        ({"question_s": 9.0}, "a question beside expensive images"),
        ({"grown": 10**9}, "growth of the front end by expensive images"),
        ({"decoding": 2 * 10**9}, "growth of the image processes"),
        ({"used_after_s": 0.9}, "CPU time after the response to an expensive image"),
        ({"statuses": (500, 400)}, "expensive images neither decoded nor rejected"),
        ({"statuses": (None, 400)}, "expensive images neither decoded nor rejected"),
    ],
)
def test_each_harm_is_seen(change: dict[str, object], name: str) -> None:
    bad = replace(GOOD, name="bad", **change)  # type: ignore[arg-type]
    missed = [target for target in judge([GOOD, bad, GOOD]) if target.verdict == "missed"]
    assert [target.name for target in missed] == [name]
    assert "bad" in missed[0].note


def test_the_files_are_what_they_are_called() -> None:
    files = heavy_pictures()
    assert all(len(file) < 20 * 2**20 for file in files.values())
    assert files[f"JPEG, {SCANS} empty scans"].count(b"\xff\xda") == SCANS + 1
    assert files["JPEG, refining scans"].count(b"\xff\xda") == 31
    assert not files["JPEG, refining scans"].endswith(b"\xff\xd9")
    assert files["JPEG, comments"].count(b"\xff\xfe\0\2") > 4_000_000
    assert files["JPEG, fill bytes"].startswith(b"\xff\xd8" + b"\xff" * 1000)
    assert files["JPEG, fill bytes in its scan"].endswith(b"\xff" * 1000 + b"\0\xff\xd9")
    assert files["GIF, comments"].count(b"\x21\xfe\x01a\x00") > 3_000_000
    tags = files["PNG, orientation of 2.4 M values"]
    at = tags.index(b"eXIf")
    assert struct.unpack(">I", tags[at - 4 : at])[0] > 2 * 2_400_000
    assert files["PNG, empty chunks"].count(b"teSt") > 1_000_000
    header = files["PNG, interlaced"][16:29]
    assert struct.unpack(">IIBBBBB", header) == (8000, 8000, 16, 6, 0, 0, 1)
    assert len(files["PNG, interlaced"]) < 600_000
    assert len(files["WebP, one colour"]) == 34
    webp = files["WebP, empty chunks"]
    assert struct.unpack("<I", webp[4:8])[0] == len(webp) - 8
