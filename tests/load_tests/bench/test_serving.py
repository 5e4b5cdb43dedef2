"""A run's load, its figures, and the warnings about them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from load_tests.bench.arrivals import Window
from load_tests.bench.client import Client
from load_tests.bench.driver import Driver
from load_tests.bench.record import Record
from load_tests.bench.serving import Offer, Served, offer_load, summarise_serving, warnings
from load_tests.bench.slo import Objective, parse_slo
from load_tests.bench.workload import Wishes, Workload

Make = Callable[..., Record]


def served(records: list[Record], **changes: Any) -> Served:
    values: dict[str, Any] = {"window": Window(0.0, 10.0), "busy": 0.01, "before": {}, "after": {}}
    return Served(records=records, **{**values, **changes})


def summary(records: list[Record], objectives: tuple[Objective, ...] = (), **changes: Any) -> dict[str, Any]:
    return summarise_serving(served(records, **changes), objectives)


def test_an_offer_says_what_it_will_send() -> None:
    offer = Offer(rate=10.0, seconds=6.0, mix={"vqa": 0.75, "generate": 0.25}, warmup=2.0)
    assert offer.counts == {"vqa": 45, "generate": 15}
    assert [(one.seconds, one.counted) for one in offer.segments] == [(2.0, False), (6.0, True)]
    assert [one.counted for one in Offer(rate=1.0, seconds=6.0, mix={"vqa": 1.0}).segments] == [True]


@pytest.mark.parametrize(
    "values", [{"rate": 0.0}, {"rate": float("nan")}, {"seconds": -1.0}, {"warmup": -1.0}, {"rate": 0.01}]
)
def test_what_is_no_offer(values: dict[str, float]) -> None:
    with pytest.raises(ValueError):
        Offer(**{"rate": 1.0, "seconds": 10.0, "mix": {"vqa": 1.0}, **values})  # type: ignore[arg-type]


def test_figures_are_of_the_counted_requests(made: Make) -> None:
    records = [made(scheduled=float(index), sent=float(index), end=index + 0.5) for index in range(8)]
    records += [made(scheduled=8.0, status=503, end=8.1, retry_after=1.0), made(scheduled=9.0, status=429, end=9.1)]
    records += [made(scheduled=-1.0, end=5.0, counted=False)]
    found = summary(records, parse_slo("vqa:p80=0.6,vqa:p90=0.6"))
    assert (found["requests"], found["completed"], found["refused"]) == (10, 8, 2)
    assert (found["offered_per_s"], found["goodput_per_s"]) == (1.0, 0.8)
    assert (found["refused_with_retry_after"], found["refused_without_retry_after"]) == (1, 1)
    assert found["tasks"]["vqa"]["latency_s"]["max"] == pytest.approx(0.5)
    assert found["tasks"]["vqa"]["mean_s"] == pytest.approx(0.5)
    assert [one["met"] for one in found["objectives"]] == [True, False]
    assert not found["met"]


def test_warnings(made: Make) -> None:
    calm = [made(scheduled=0.0, sent=0.001, end=0.3) for _ in range(100)]
    objectives = parse_slo("vqa:p99=0.5")
    assert warnings(summary(calm, objectives)) == []
    (said,) = warnings(summary(calm, objectives, busy=0.9))
    assert "90% of a core" in said
    (said,) = warnings(summary([made(sent=0.2, end=0.3)] * 100, objectives))
    assert "late" in said
    assert warnings(summary([made(sent=0.2, end=0.3)] * 100, objectives, limited=True)) == []
    (said,) = warnings(summary(calm[:99], objectives))
    assert "is their maximum" in said
    (said,) = warnings(summary(calm, parse_slo("generate:p50=1")))
    assert "no requests" in said
    assert warnings(summary(calm[:9], objectives, ended_early=True)) == []


@pytest.mark.parametrize("until_certain", [True, False])
async def test_an_offer_that_is_missed_for_certain_ends(
    until_certain: bool,
    serving: Callable[..., AbstractAsyncContextManager[str]],
    response: Callable[..., bytes],
) -> None:
    async def handler(head: bytes, body: bytes) -> bytes:
        return response(503)

    objectives = parse_slo("vqa:p90=1")
    offer = Offer(rate=200.0, seconds=1.0, mix={"vqa": 1.0}, spacing="constant")
    async with serving(handler) as url:
        driver = Driver(Client(url), Workload(0, Wishes()), 0)
        found = await offer_load(driver, offer, objectives, until_certain=until_certain)
    assert found.ended_early == until_certain
    if until_certain:
        assert 21 <= len(found.records) < 200  # twenty may miss
        assert found.window.end == max(one.end for one in found.records)
    else:
        assert len(found.records) == 200
        assert found.window.seconds == pytest.approx(1.0)
    assert not summarise_serving(found, objectives)["met"]
