from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks import contact_sheet
from benchmarks.contact_sheet import joined, main


def test_pictures_stand_in_rows_of_eight() -> None:
    sheet = np.asarray(joined([np.full((10, 20, 3), value, np.uint8) for value in range(9)]))
    assert sheet.shape == (2 * 14 - 4, 8 * 24 - 4, 3)
    assert (sheet[0, 24], sheet[14, 0]) == (pytest.approx([1] * 3), pytest.approx([8] * 3))
    assert (sheet[0, 20:24] == 255).all()


def test_every_prompt_has_its_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(contact_sheet, "COUNT", 9)
    assert main(["--output", str(tmp_path / "sheet.png")]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 9
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size == (8 * 68 - 4, 2 * 68 - 4)
