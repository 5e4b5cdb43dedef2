"""Objectives: their syntax, and which requests meet them; those without a result never do."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from load_tests.bench.record import Record
from load_tests.bench.slo import Allowance, Objective, attained, is_good, parse_slo

Make = Callable[..., Record]


def test_objectives_are_read() -> None:
    found = parse_slo("vqa:p99=0.5, generate:p95=3,vqa:first_p99.9=0.25")
    assert found == (
        Objective(task="vqa", percent=99.0, limit_s=0.5),
        Objective(task="generate", percent=95.0, limit_s=3.0),
        Objective(task="vqa", percent=99.9, limit_s=0.25, measure="first"),
    )
    assert [one.name for one in found] == ["vqa:p99", "generate:p95", "vqa:first_p99.9"]
    assert parse_slo(" ") == ()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("vqa:99=1", "not an objective"),
        ("vqa:p99=-1", "not an objective"),
        ("vqa:p99=inf", "not an objective"),
        ("vqa:p99=1,", "not an objective"),
        ("draw:p99=1", "not a task"),
        ("vqa:p0=1", "percentile"),
        ("vqa:p101=1", "percentile"),
        ("vqa:p99=0", "above 0"),
    ],
)
def test_what_is_no_objective(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parse_slo(text)


def requests(made: Make, good: int, *others: dict[str, Any]) -> list[Record]:
    """So many answers that take 0.4 s, and others."""
    return [made(scheduled=0.0, end=0.4) for _ in range(good)] + [made(**other) for other in others]


def test_the_percentile_is_over_all_requests(made: Make) -> None:
    (objective,) = parse_slo("vqa:p90=0.5")
    found = attained(objective, requests(made, 9, {"status": 503}))
    assert found.met
    assert (found.good, found.requests, found.measured_s) == (9, 10, pytest.approx(0.4))
    found = attained(objective, requests(made, 8, {"status": 503}, {"error": "reset"}))
    assert not found.met
    assert found.measured_s is None
    found = attained(objective, requests(made, 8, {"end": 2.0}, {"end": 2.0}))
    assert not found.met
    assert found.measured_s == 2.0


def test_neither_a_warm_up_nor_another_task_is_judged(made: Make) -> None:
    (objective,) = parse_slo("vqa:p100=0.5")
    found = attained(objective, requests(made, 3, {"counted": False, "end": 9.0}, {"task": "generate", "end": 9.0}))
    assert found.met
    assert found.requests == 3
    assert not attained(objective, []).met


@pytest.mark.parametrize("percent", [50.0, 90.0, 95.0, 99.0, 99.9, 100.0])
@pytest.mark.parametrize("count", [1, 7, 10, 100, 700, 1000])
def test_enough_good_ones_are_as_many_as_the_percentile_says(percent: float, count: int) -> None:
    needed = Objective(task="vqa", percent=percent, limit_s=1.0).needed(count)
    assert needed - 1 < Decimal(str(percent)) * count / 100 <= needed


def test_the_start_of_a_stream(made: Make) -> None:
    (objective,) = parse_slo("vqa:first_p100=0.2")
    assert objective.meets(made(first_event=0.1, end=5.0))
    assert not objective.meets(made(first_event=0.3, end=5.0))
    assert not objective.meets(made(first_event=None, end=0.1))
    assert not objective.meets(made(first_event=0.1, end=0.2, failure="internal_error"))


def test_good_is_what_meets_all(made: Make) -> None:
    objectives = parse_slo("vqa:p50=0.1,vqa:p99=0.5,generate:p99=3")
    assert is_good(made(end=0.05), objectives)
    assert not is_good(made(end=0.2), objectives)
    assert is_good(made(task="generate", end=0.2), objectives)
    assert not is_good(made(task="generate", status=503, end=0.2), objectives)
    assert is_good(made(end=99.0), ())


def test_an_allowance_is_spent_exactly_when_the_verdict_is_certain(made: Make) -> None:
    allowance = Allowance(parse_slo("vqa:p90=0.5"), {"vqa": 20})
    bad = made(status=503)
    assert not allowance.spent(made(counted=False, status=503))
    assert not allowance.spent(made(task="generate", status=503))
    assert not allowance.spent(bad)
    assert not allowance.spent(made(end=0.4))
    assert not allowance.spent(bad)
    assert allowance.spent(bad)
    assert allowance.spent(made(end=0.4))
