"""A request depends on the seed and its number; prompts, images and questions may be the caller's."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from load_tests.bench.workload import Wishes, Workload, parse_mix


def bodies(workload: Workload, task: Any, count: int) -> list[dict[str, Any]]:
    return [json.loads(workload.message(task, index).body) for index in range(count)]


def test_the_seed_and_the_number_say_all() -> None:
    first, second, other = Workload(1, Wishes()), Workload(1, Wishes()), Workload(2, Wishes())
    sent = [first.next("vqa") for _ in range(20)]
    assert [one.key for one in sent] == [f"vqa/{index}" for index in range(20)]
    for _ in range(7):
        second.next("generate")  # another task's row is its own
    assert [second.next("vqa") for _ in range(20)] == sent
    assert [other.next("vqa").body for _ in range(20)] != [one.body for one in sent]
    assert first.message("vqa", 11) == sent[11]
    assert len({one["seed"] for one in bodies(first, "generate", 100)}) == 100


def test_what_is_asked_for() -> None:
    wishes = Wishes(acceleration="exact", num_inference_steps=9, size="64x64", max_new_tokens=4, stream=True)
    generation = bodies(Workload(0, wishes), "generate", 1)[0]
    assert set(generation) == {"prompt", "seed", "acceleration", "num_inference_steps", "size", "stream"}
    assert (generation["num_inference_steps"], generation["size"], generation["stream"]) == (9, "64x64", True)
    question = bodies(Workload(0, wishes), "vqa", 1)[0]
    assert set(question) == {"question", "image", "seed", "acceleration", "max_new_tokens", "stream"}
    assert set(bodies(Workload(0, Wishes()), "generate", 1)[0]) == {"prompt", "seed"}


def test_the_caller_s_own(tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_text("a cat\n\n a dog \n")
    (tmp_path / "questions.txt").write_text("is it?\n")
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for index in range(3):
        Image.fromarray(np.full((8, 8, 3), index, np.uint8)).save(pictures / f"{index}.png")
    (pictures / "notes.txt").write_text("not a picture")
    own = {"prompts": tmp_path / "prompts.txt", "images": pictures}
    workload = Workload(0, Wishes(), **own, questions=tmp_path / "questions.txt")
    assert {one["prompt"] for one in bodies(workload, "generate", 40)} == {"a cat", "a dog"}
    requested = bodies(workload, "vqa", 60)
    assert {one["question"] for one in requested} == {"is it?"}
    sent = {base64.b64decode(one["image"]) for one in requested}
    assert sent == {(pictures / f"{index}.png").read_bytes() for index in range(3)}
    assert len({one["question"] for one in bodies(Workload(0, Wishes(), **own), "vqa", 60)}) == 3


def test_what_cannot_be_read(tmp_path: Path) -> None:
    empty = tmp_path / "empty.txt"
    empty.write_text("\n")
    for given, said in (
        ({"prompts": tmp_path / "none.txt"}, "cannot be read"),
        ({"prompts": empty}, "is empty"),
        ({"images": tmp_path / "none"}, "cannot be read"),
        ({"images": tmp_path}, "holds no images"),
    ):
        with pytest.raises(ValueError, match=said):
            Workload(0, Wishes(), **given)


def test_mixes() -> None:
    assert parse_mix("generate=0.3,vqa=0.7") == pytest.approx({"generate": 0.3, "vqa": 0.7})
    assert parse_mix("vqa=3, generate=1") == {"vqa": 0.75, "generate": 0.25}
    assert parse_mix("vqa=1,generate=0") == {"vqa": 1.0}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "names each of"),
        ("draw=1", "'draw'"),
        ("vqa=1,vqa=2", "at most once"),
        ("vqa", "write a number"),
        ("vqa=-1", "at least 0"),
        ("vqa=nan", "at least 0"),
        ("vqa=0", "all 0"),
    ],
)
def test_what_is_no_mix(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parse_mix(text)
