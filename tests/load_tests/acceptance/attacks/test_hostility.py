"""The slowest rejection, the longest wait and requests that were not rejected."""

from __future__ import annotations

import pytest

from load_tests.acceptance.attacks.hostility import judge
from load_tests.acceptance.harm import Refusal, Stall

STALLED = [Stall(name="nothing", status=None, waited_s=0.5), Stall(name="c", status=400, waited_s=0.02)]


def refusals(status: int | None = 400, seconds: float = 0.01) -> list[Refusal]:
    return [Refusal(name="a", status=400, seconds=0.01), Refusal(name="b", status=status, seconds=seconds)]


def test_the_slowest_and_the_longest_count() -> None:
    numbers, bombs, waits, passed = judge(refusals(), refusals(seconds=0.3), STALLED)
    assert numbers.verdict == "met"
    assert (bombs.measured, bombs.verdict) == (0.3, "missed")
    assert "b, of 2" in bombs.note
    assert (waits.measured, waits.verdict) == (0.02, "met")
    assert "500 ms" in waits.note
    assert passed.measured == 0


@pytest.mark.parametrize(("status", "passed"), [(400, 0), (413, 0), (200, 1), (500, 1), (None, 1)])
def test_only_statuses_of_refusals_are_refusals(status: int | None, passed: int) -> None:
    assert judge(refusals(status), refusals(), STALLED)[-1].measured == passed
