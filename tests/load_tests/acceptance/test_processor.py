"""CPU time of the front end per request, from counters and records made by hand."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from load_tests.acceptance.phases import SLOW, Found
from load_tests.acceptance.processor import Cores, front_end_costs, left_for_work, recovery_of
from load_tests.bench.arrivals import Window
from load_tests.bench.record import Record

CPU = ("process_cpu_seconds_total", ())
PICTURE_S, ANSWER_S, REFUSAL_S, IDLE = 0.005, 0.002, 0.001, 0.003
# Pictures, answers and refusals of each phase of ten seconds.
COUNTS = {"idle": (30, 30, 0), "capacity mix": (60, 140, 50), "mixed": (50, 40, 2), "alone": (0, 50, 0)}
COUNTS |= {"overload 10x": (10, 200, 1500), "after 10x": (20, 50, 3)}


@pytest.fixture
def found(made: Callable[..., Record]) -> Found:
    """Each picture, answer, refusal and second takes its constant; of two phases one pair of scrapes tells."""
    run = Found()
    for index, (phase, (pictures, answers, refused)) in enumerate(COUNTS.items()):
        start = 10.0 * index
        run.windows[phase] = Window(start, start + 10)
        run.busy[phase] = 0.1
        for task, status, count in (("generate", 200, pictures), ("vqa", 200, answers), ("vqa", 503, refused)):
            for number in range(count):
                at = start + 9.9 * number / count
                run.records.append(
                    made(phase=phase, task=task, scheduled=at, sent=at, end=start + 10, first_byte=at, status=status)
                )
        seconds = PICTURE_S * pictures + ANSWER_S * answers + REFUSAL_S * refused + IDLE * 10
        if phase == "after 10x":
            before, after = run.scraped["overload 10x"]
            run.scraped["overload 10x"] = (before, {CPU: after[CPU] + seconds})
        else:
            run.scraped[phase] = ({CPU: 3.0}, {CPU: 3.0 + seconds})
    return run


def test_costs_are_found(found: Found) -> None:
    costs = front_end_costs(found)
    assert costs is not None
    assert costs.picture == pytest.approx(PICTURE_S, rel=0.05)
    assert costs.answer == pytest.approx(ANSWER_S, rel=0.05)
    assert costs.refusal == pytest.approx(REFUSAL_S, rel=0.05)


def test_phases_with_slow_clients_are_skipped(found: Found) -> None:
    before = front_end_costs(found)
    found.windows[f"{SLOW} 1"] = Window(90, 100)
    found.scraped[f"{SLOW} 1"] = ({CPU: 0.0}, {CPU: 1e3})
    assert front_end_costs(found) == before


def test_without_metrics_or_refusals_nothing_is_known(found: Found, made: Callable[..., Record]) -> None:
    found.records = [one for one in found.records if one.outcome != "refused"]
    assert front_end_costs(found) is None
    assert front_end_costs(Found(scraped={"idle": ({}, {})}, records=[made()])) is None


def test_what_refusals_take_beyond_those_at_capacity(found: Found) -> None:
    costs = front_end_costs(found)
    more = REFUSAL_S * (1500 - 50) / 10
    assert left_for_work(found, "overload 10x", costs, Cores(server=1)) == pytest.approx(1 - more, rel=0.02)
    assert left_for_work(found, "overload 10x", costs, Cores(server=4)) == pytest.approx(1 - more / 4, rel=0.02)
    assert left_for_work(found, "mixed", costs, Cores(server=1)) == 1.0  # fewer than at capacity


def test_a_client_on_the_same_cores_counts(found: Found) -> None:
    found.busy["overload 10x"] = 0.5
    assert left_for_work(found, "overload 10x", None, Cores(server=2, shared=True)) == pytest.approx(0.8)
    assert left_for_work(found, "overload 10x", None, Cores(server=2)) == 1.0
    assert left_for_work(found, "overload 10x", None, None) == 1.0


def test_an_overload_has_a_recovery() -> None:
    assert recovery_of("overload 10x") == "after 10x"
    assert recovery_of("overload 1.5x") == "after 1.5x"
    assert recovery_of("mixed") is None
