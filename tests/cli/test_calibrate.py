from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

import pytest

Flashu = Callable[..., int]


def test_a_calibration_is_replaced_by_force_only_and_listed(
    tmp_path: Path, flashu: Flashu, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "shapes-64"
    shutil.copytree(Path(str(files("flashu_core"))) / "assets" / "shapes-64", folder)
    before = (folder / "calibration.safetensors").read_bytes()
    assert flashu("calibrate", folder) == 2
    assert flashu("calibrate", folder, "--output", tmp_path / "other.safetensors") == 0
    assert (folder / "calibration.safetensors").read_bytes() == before
    assert flashu("calibrate", folder, "--force", "--prompt", "a red circle") == 0
    after = (folder / "calibration.safetensors").read_bytes()
    assert after != before
    listed = json.loads((folder / "manifest.json").read_text())["files"]["calibration.safetensors"]
    assert listed == {"sha256": hashlib.sha256(after).hexdigest(), "bytes": len(after)}
    capsys.readouterr()
    assert flashu("generate", "a", "--model", folder, "--num-inference-steps", "3", "-o", tmp_path / "x.png") == 0
