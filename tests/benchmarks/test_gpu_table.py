from __future__ import annotations

from benchmarks.gpu_table import DOCUMENT, ROWS, Row, main


def test_the_document_is_as_the_results_say() -> None:
    assert main(["--check"]) == 0
    assert "<!-- table gpu -->" in DOCUMENT.read_text()
    assert all(row.name in DOCUMENT.read_text() for row in ROWS)


def test_what_falls_short_says_so() -> None:
    record = {"found": 2.0}
    assert Row("faster", "exact", 3, lambda one: one["found"], "times").cells(record)[-2:] == ["2 times", "no"]
    assert Row("slower", "exact", 3, lambda one: one["found"], "ms", True).cells(record)[-2:] == ["2 ms", "yes"]
