"""Results are stored and compared: equal, different and by how much, and files of other requests."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from load_tests.bench.client import Message, Reply
from load_tests.bench.hashes import Compared, Results, check_requests, hash_pixels, write_or_compare

PIXELS = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
Pixels = np.ndarray[Any, np.dtype[np.uint8]]


def base64_of(pixels: Pixels) -> str:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def message(key: str, body: bytes | None = None) -> Message:
    return Message(path="/v1/x", key=key, body=body or key.encode())


def replied(content: dict[str, Any], status: int = 200) -> Reply:
    body = json.dumps({"timings_ms": {}, "schedule": {}, **content}).encode()
    return Reply(sent=0.0, first_byte=0.1, end=0.2, status=status, received=1, headers={}, body=body, error=None)


def run(*, pixels: Pixels = PIXELS, text: str = "red") -> Results:
    """One picture and one answer, and a refusal."""
    results = Results()
    results.keep(message("generate/0"), replied({"images": [{"b64_json": base64_of(pixels)}]}))
    results.keep(message("vqa/0"), replied({"answer": text}))
    results.keep(message("vqa/1"), replied({}, status=503))
    return results


def compare(path: Path, results: Results, **options: Any) -> Compared:
    return write_or_compare(path, results, **{"replay": "alone", "settings": {"seed": 1}, **options})


def test_the_shape_belongs_to_the_hash() -> None:
    assert hash_pixels(PIXELS) == hash_pixels(PIXELS.copy())
    assert hash_pixels(PIXELS) != hash_pixels(PIXELS.reshape(6, 4, 3))
    assert hash_pixels(PIXELS) == hash_pixels(np.asfortranarray(PIXELS))
    changed = PIXELS.copy()
    changed[0, 0, 0] ^= 1
    assert hash_pixels(changed) != hash_pixels(PIXELS)


def test_first_written_then_the_same(tmp_path: Path) -> None:
    path = tmp_path / "hashes.json"
    written = compare(path, run())
    assert (written.verdict, written.only_now, written.failed) == ("written", 2, False)
    text = path.read_text()
    assert json.loads(text)["requests"]["vqa/0"]["answer"] == "red"
    same = compare(path, run())
    assert (same.verdict, same.compared, same.differences, same.failed) == ("same", 2, [], False)
    assert path.read_text() == text  # a comparison changes nothing


def test_a_difference_alone_is_nondeterminism_and_in_batches_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "hashes.json"
    compare(path, run())
    found = compare(path, run(text="blue"))
    assert (found.verdict, found.failed) == ("nondeterministic", True)
    assert [(one.key, one.what, one.answers) for one in found.differences] == [("vqa/0", "answer", ("red", "blue"))]
    found = compare(path, run(text="blue"), replay="arrivals")
    assert (found.verdict, found.failed, len(found.differences)) == ("differs in a batch", False, 1)


def test_how_much_pictures_differ_by(tmp_path: Path) -> None:
    path, folder = tmp_path / "hashes.json", tmp_path / "kept"
    compare(path, run(), folder=folder)
    assert np.array_equal(np.asarray(Image.open(folder / "generate-0-0.png")), PIXELS)
    changed = PIXELS.copy()
    changed[1, 2] += 5
    (one,) = compare(path, run(pixels=changed)).differences
    assert (one.key, one.what, one.largest) == ("generate/0", "pixels", 5)
    assert one.mean == pytest.approx(5 / 24)
    (one,) = compare(path, run(pixels=PIXELS.reshape(6, 4, 3))).differences
    assert (one.what, one.largest) == ("shape", None)
    (folder / "generate-0-0.png").unlink()
    (one,) = compare(path, run(pixels=changed)).differences
    assert (one.what, one.largest) == ("pixels", None)


def test_a_run_that_has_nothing_in_common(tmp_path: Path) -> None:
    path = tmp_path / "hashes.json"
    compare(path, run())
    found = compare(path, Results())
    assert (found.verdict, found.failed, found.only_before) == ("nothing to compare", True, 2)


def test_a_file_of_other_requests_is_seen_before_anything_is_sent(tmp_path: Path) -> None:
    path = tmp_path / "hashes.json"
    compare(path, run())
    check_requests(path, lambda task, index: message(f"{task}/{index}"), {"seed": 1})
    with pytest.raises(ValueError, match=r"for example generate/0: it was written with \{'seed': 1\}"):
        check_requests(path, lambda task, index: message(f"{task}/{index}", b"other"), {"seed": 2})


def test_the_pictures_of_the_file_are_not_replaced(tmp_path: Path) -> None:
    path, folder = tmp_path / "hashes.json", tmp_path / "kept"
    compare(path, run(), folder=folder)
    with pytest.raises(ValueError, match="another folder"):
        check_requests(path, lambda task, index: message(f"{task}/{index}"), {}, folder=folder)
    check_requests(path, lambda task, index: message(f"{task}/{index}"), {}, folder=tmp_path / "other")


@pytest.mark.parametrize("text", ["", "[]", '{"format": 2}', "\u00fc"])
def test_files_of_something_else(tmp_path: Path, text: str) -> None:
    path = tmp_path / "hashes.json"
    path.write_text(text)
    with pytest.raises(ValueError, match="hashes"):
        check_requests(path, lambda task, index: message(f"{task}/{index}"), {})
