from __future__ import annotations

from pathlib import Path

from benchmarks.readme_chart import CHART, bars, main


def test_the_chart_is_of_the_results(tmp_path: Path) -> None:
    assert main(["--output", str(tmp_path / "chart.svg")]) == 0
    assert (tmp_path / "chart.svg").read_bytes() == CHART.read_bytes()


def test_less_arithmetic_takes_less_time() -> None:
    found = bars()
    for values in (found["TFLOP"], found["seconds"]):
        assert values["flashu"] < values["exact"] < max(values.values())
