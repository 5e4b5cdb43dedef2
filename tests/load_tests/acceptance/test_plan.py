"""The duration and load of a run's phases."""

from __future__ import annotations

import pytest

from load_tests.acceptance.plan import Plan
from load_tests.bench.arrivals import windows

PHASES = ["warm-up", "idle", "capacity generate", "capacity vqa", "capacity mix", "alone", "mixed", "saturation"]
CAPACITY = {"generate": 4.0, "vqa": 30.0}


def test_a_run_lasts_as_long_as_it_says() -> None:
    plan = Plan(minutes=10)
    assert sum(plan.seconds(phase) for phase in [*PHASES, "overload", "recovery"]) == pytest.approx(600)


def test_pictures_and_answers_beside_each_other() -> None:
    plan = Plan(minutes=2, picture_load=0.7, answer_load=0.1)
    lead, counted = plan.beside("mixed", CAPACITY)  # type: ignore[arg-type]
    assert (lead.counted, counted.counted) == (False, True)
    assert lead.seconds + counted.seconds == pytest.approx(plan.seconds("mixed"))
    assert counted.rates == pytest.approx({"generate": 2.8, "vqa": 3.0})


def test_answers_alone_are_the_ones_beside_pictures() -> None:
    plan = Plan(minutes=2)
    alone, mixed = plan.beside("alone", CAPACITY, ("vqa",)), plan.beside("mixed", CAPACITY)  # type: ignore[arg-type]
    assert [one.seconds for one in alone] == [one.seconds for one in mixed]
    assert [one.rates for one in alone] == [{"vqa": one.rates["vqa"]} for one in mixed]


def test_saturation_is_c_behind_a_lead_in_that_fills_the_queue() -> None:
    lead, counted = Plan(pictures=0.25).saturated(20.0)
    assert counted.rates == pytest.approx({"generate": 5.0, "vqa": 15.0})
    assert sum(lead.rates.values()) > 20.0
    assert not lead.counted


@pytest.mark.parametrize("factor", [2.0, 10.0])
def test_a_half_of_c_follows_an_overload_at_once(factor: float) -> None:
    segments = Plan(minutes=1).overloaded(factor, 20.0)
    assert [sum(one.rates.values()) for one in segments] == pytest.approx([20 * factor, 20 * factor, 10.0])
    found = windows(segments)
    assert list(found) == [f"overload {factor:g}x", f"after {factor:g}x"]
    assert found[f"after {factor:g}x"].seconds > 5.0  # longer than what is promised


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"minutes": 0.0}, "minutes is 0.0"),
        ({"minutes": float("nan")}, "minutes is nan"),
        ({"pictures": 1.0}, "share of pictures is 1.0"),
        ({"picture_load": 0.0}, "load of pictures is 0.0"),
        ({"answer_load": 2.0}, "load of answers is 2.0"),
        ({"overloads": (2.0, 0.5)}, "0.5 times C"),
    ],
)
def test_what_cannot_be_run_is_refused(values: dict[str, float], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        Plan(**values)  # type: ignore[arg-type]
