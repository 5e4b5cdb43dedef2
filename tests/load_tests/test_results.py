"""Results are files of one folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from load_tests import results


def test_a_result_is_written_under_its_name(tmp_path: Path) -> None:
    path = results.save("some", {"a": 1}, tmp_path / "results")
    assert json.loads(path.read_text()) == {"a": 1}
    with pytest.raises(ValueError, match="not the name of a result"):
        results.save("../some", {}, tmp_path)
