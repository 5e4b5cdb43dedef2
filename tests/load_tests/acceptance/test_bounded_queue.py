"""The acceptance of a bounded queue, against textbook formulas and a simulation."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from load_tests.acceptance.bounded_queue import batch_rates, kept


@pytest.mark.parametrize("places", [1, 4, 12])
def test_at_its_capacity_one_place_in_all_is_lost(places: int) -> None:
    """M/M/1/K: all K + 1 states are equally likely."""
    assert kept(5.0, [5.0] * places) == pytest.approx(places / (places + 1))


def test_without_a_queue_it_is_erlangs_formula() -> None:
    """Two servers, as much offered as two can do: B = (2 ** 2 / 2) / (1 + 2 + 2 ** 2 / 2)."""
    assert kept(2.0, [1.0, 2.0]) == pytest.approx(1 - 2 / 5)


def test_a_full_batch_is_the_capacity_and_one_alone_is_alone() -> None:
    rates = batch_rates(alone_s=0.25, capacity=8.0, batch=8, stay_s=2.0)
    assert len(rates) == 16
    assert rates[0] == pytest.approx(4.0)
    assert rates[1] == pytest.approx(2 / (0.25 + 0.75 / 7))
    assert rates[7:] == [8.0] * 9
    assert rates == sorted(rates)


def test_a_batch_of_one_gains_nothing() -> None:
    assert batch_rates(alone_s=0.5, capacity=2.0, batch=1, stay_s=0.1) == [2.0]


def test_a_simulation_says_the_same() -> None:
    rates = batch_rates(alone_s=0.25, capacity=8.0, batch=4, stay_s=1.0)
    assert simulated(7.0, rates, arrivals=40_000) == pytest.approx(kept(7.0, rates), abs=0.015)


def simulated(per_s: float, rates: Sequence[float], arrivals: int) -> float:
    rng = random.Random(1)
    active = taken = came = 0
    while came < arrivals:
        leaving = rates[active - 1] if active else 0.0
        if rng.random() * (per_s + leaving) < per_s:
            came += 1
            if active < len(rates):
                active += 1
                taken += 1
        else:
            active -= 1
    return taken / came
