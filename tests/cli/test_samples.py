from __future__ import annotations

from pathlib import Path

import pytest

from flashu_core import CalibrationError
from flashu_core.cli.samples import read_samples


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"picture": "a.png", "question": "b"}', "image is missing"),
        ('{"image": "a.png", "question": 3}', "question must be a string"),
        ("[]", "it is not an object"),
        ("{", "it is not JSON"),
        ('{"image": "no-such.png", "question": "b"}', "there is no such file"),
        ('{"image": "samples.jsonl", "question": "b"}', "samples.jsonl cannot be read as a picture: "),
    ],
)
def test_errors_in_samples_name_the_line(line: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "samples.jsonl"
    path.write_text(f"\n{line}\n")
    with pytest.raises(CalibrationError) as error:
        read_samples(path)
    assert f"{path}, line 2: " in str(error.value)
    assert said in str(error.value)
    assert "Error(" not in str(error.value)
