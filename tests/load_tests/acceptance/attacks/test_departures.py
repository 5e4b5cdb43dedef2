"""Statuses are listed with their counts."""

from __future__ import annotations

from load_tests.acceptance.attacks.departures import listed


def test_statuses_and_how_often() -> None:
    assert listed({503: 3, None: 1}) == "503, 3 times; none, 1 times"
