"""Pauses double, too many deaths end it, a healthy minute forgets."""

from __future__ import annotations

import pytest

from server.worker.backoff import RestartBackoff


def test_pauses_double_up_to_a_few_seconds() -> None:
    restarts = RestartBackoff(maximum=100, within_s=60)
    pauses = [restarts.pause(float(index), 0.0) for index in range(9)]
    assert pauses == [pytest.approx(pause) for pause in (0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5, 5, 5)]


def test_five_in_a_minute_are_enough() -> None:
    restarts = RestartBackoff(maximum=5, within_s=60)
    assert all(restarts.pause(now, 1.0) is not None for now in (0.0, 5.0, 10.0, 15.0, 20.0))
    assert restarts.pause(59.9, 1.0) is None
    assert restarts.pause(60.0, 1.0) is not None  # the first is a minute ago
    assert restarts.pause(60.1, 1.0) is None


def test_a_healthy_minute_forgets_the_pauses() -> None:
    restarts = RestartBackoff(maximum=5, within_s=60)
    for now in (0.0, 1.0, 2.0):
        restarts.pause(now, 0.0)
    assert restarts.pause(100.0, 60.0) == pytest.approx(0.1)


def test_none_may_be_allowed() -> None:
    assert RestartBackoff(maximum=0, within_s=60).pause(0.0, 3600.0) is None
