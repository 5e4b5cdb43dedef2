from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.figures import DOCUMENT, fill, main
from load_tests.acceptance.target import Target


def test_the_document_is_as_the_results_say() -> None:
    assert main(["--check"]) == 0
    assert "<!-- table harm -->" in DOCUMENT.read_text()


def test_a_target_becomes_a_row_with_its_verdict(tmp_path: Path) -> None:
    machine = {"date": "2026-01-02", "commit": "abc", "cores": 2, "processor": "one"}
    targets = [
        Target(name="first", unit="s", limit=1.0, measured=0.05, note="of 3"),
        Target(name="goodput", unit="C", limit=0.9, measured=0.8, at_least=True),
        Target(name="lost", unit="", limit=0, measured=None),
    ]
    content = {"promises": [target.to_json() for target in targets], "machine": machine}
    (tmp_path / "promises.json").write_text(json.dumps(content))
    filled = fill("a\n<!-- table harm -->\n<!-- end -->\nb\n", tmp_path)
    assert "2026-01-02, commit abc, 2 cores, one" in filled
    assert "| first | <= 1.00 s | 50.0 ms | met | of 3 |" in filled
    assert "| goodput | >= 0.90 C | 0.80 C | missed |  |" in filled
    assert "| lost | <= 0 | nothing | missed |  |" in filled
    with pytest.raises(FileNotFoundError):
        fill("<!-- table load -->\n<!-- end -->\n", tmp_path)
