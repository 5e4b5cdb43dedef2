from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

Flashu = Callable[..., int]


def test_several_pictures_are_numbered(tmp_path: Path, flashu: Flashu) -> None:
    words = ("generate", "a", "-o", tmp_path / "x.webp", "--num-images", "2", "--num-inference-steps", "3")
    assert flashu(*words) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x-1.webp", "x-2.webp"]


@pytest.mark.parametrize(("name", "kind"), [("x.jpg", "JPEG"), ("x.JPG", "JPEG"), ("x.Jpeg", "JPEG"), ("x.PNG", "PNG")])
def test_the_ending_is_the_format_in_any_case(name: str, kind: str, tmp_path: Path, flashu: Flashu) -> None:
    assert flashu("generate", "a", "-o", tmp_path / name, "--num-inference-steps", "2") == 0
    with Image.open(tmp_path / name) as picture:
        assert picture.format == kind
