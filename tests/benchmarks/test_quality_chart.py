from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.quality_chart import MEASURES, Point, main, points


def record(digest: str = "d", **policies: dict[str, Any]) -> dict[str, Any]:
    return {"digest": digest, "policies": policies}


def measured(gigaflops: float, grade: float | None = None, psnr: float = 20.0) -> dict[str, Any]:
    own: dict[str, Any] = {"gigaflops": gigaflops, "fidelity": {"psnr": {"mean": psnr}}}
    return own if grade is None else {**own, "pictures": {"overall": {"mean": grade}}}


FIRST = record(exact=measured(50, 0.9, 60.0), flashu=measured(11, 0.8), **{"exact, 10 points": measured(10, 0.7)})
SECOND = record(**{"without head cache": measured(14)})
GRADE = MEASURES["share of prompts met"]
PSNR = MEASURES["PSNR to exact, dB"]


def test_variants_come_by_cost_and_controls_are_known() -> None:
    found = points([FIRST, SECOND], GRADE)
    assert found == [Point("exact, 10 points", 10, 0.7), Point("flashu", 11, 0.8), Point("exact", 50, 0.9)]
    assert [point.control for point in found] == [True, False, True]


def test_the_exact_model_has_no_fidelity_to_itself() -> None:
    assert [point.name for point in points([FIRST, SECOND], PSNR)] == [
        "exact, 10 points",
        "flashu",
        "without head cache",
    ]


def test_checkpoints_are_not_mixed() -> None:
    with pytest.raises(ValueError, match="different checkpoints"):
        points([FIRST, record("other", flashu=measured(1))], GRADE)


def test_the_chart_shows_what_was_measured(tmp_path: Path) -> None:
    paths = []
    for name, content in (("first", FIRST), ("second", SECOND)):
        paths.append(tmp_path / f"{name}.json")
        paths[-1].write_text(json.dumps(content))
    chart = tmp_path / "chart.svg"
    assert main([*map(str, paths), "--output", str(chart)]) == 0
    first = chart.read_bytes()
    assert main([*map(str, paths), "--output", str(chart)]) == 0
    assert chart.read_bytes() == first
    assert first.count(b"<!-- flashu -->") == 2 and b"<!-- without head cache -->" in first
    assert "Fréchet".encode() not in first
