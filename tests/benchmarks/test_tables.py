from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.tables import DOCUMENT, fill, main

SHARE = {"mean": 0.5, "low": 0.4, "high": 0.6, "count": 50}
FOUND = {
    "overall": SHARE,
    "categories": {"single_object": SHARE, "colours": {**SHARE, "mean": 0.25}},
    "answers": {**SHARE, "mean": 0.75},
    "gigaflops": 1.234,
    "alone": {"picture_ms": 12.3, "answer_ms": 4.56},
}


@pytest.fixture
def results(tmp_path: Path) -> Path:
    for name in ("eval-shapes-64", "ablation-shapes-64"):
        (tmp_path / f"{name}.json").write_text(json.dumps({"policies": {"exact": FOUND, "less of it": FOUND}}))
    return tmp_path


def test_readme_is_as_the_results_say(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--check"]) == 0
    assert "<!-- table grades -->" in DOCUMENT.read_text()


def test_tables_are_replaced_whole(results: Path) -> None:
    text = "a\n<!-- table grades -->\nold\n<!-- end -->\nb\n<!-- table ablation -->\n<!-- end -->\nc\n"
    filled = fill(text, results)
    assert "old" not in filled
    assert filled.startswith("a\n") and filled.endswith("c\n") and "\nb\n" in filled
    assert "| `exact` | 0.500 (0.40 to 0.60) | 0.50 | 0.25 | 0.750 (0.40 to 0.60) |" in filled
    assert "| less of it | 0.500 (0.40 to 0.60) | 0.750 (0.40 to 0.60) | 1.23 | 12 | 4.6 |" in filled
    assert fill(filled, results) == filled


def test_an_unknown_table_is_refused(results: Path) -> None:
    with pytest.raises(ValueError, match="'speeds'"):
        fill("<!-- table speeds -->\n<!-- end -->", results)
