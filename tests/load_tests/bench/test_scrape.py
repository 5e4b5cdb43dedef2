"""Parsing Prometheus's text, and increases between two scrapes."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import pytest
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

from load_tests.bench.client import Client
from load_tests.bench.scrape import grown, histogram_quantile, parse, scrape


def test_counters_by_label() -> None:
    registry = CollectorRegistry()
    counter = Counter("flashu_rejected", "Refused.", ("reason",), registry=registry)
    counter.labels("queue_full").inc(2)
    before = parse(generate_latest(registry).decode())
    counter.labels("queue_full").inc(3)
    counter.labels("draining").inc()
    after = parse(generate_latest(registry).decode())
    assert grown(before, after, "flashu_rejected_total") == {"queue_full": 3.0, "draining": 1.0}
    assert grown(after, after, "flashu_rejected_total") == {}


def test_quantiles_of_what_was_observed_in_between() -> None:
    registry = CollectorRegistry()
    seconds = Histogram("flashu_x_seconds", "X.", ("kind",), registry=registry, buckets=(1.0, 2.0, 4.0))
    seconds.labels("a").observe(3.5)
    before = parse(generate_latest(registry).decode())
    for _ in range(6):
        seconds.labels("a").observe(0.5)
    for _ in range(4):
        seconds.labels("b").observe(1.5)
    after = parse(generate_latest(registry).decode())
    assert histogram_quantile(before, after, "flashu_x_seconds", 0.3) == pytest.approx(0.5)
    assert histogram_quantile(before, after, "flashu_x_seconds", 0.6) == pytest.approx(1.0)
    assert histogram_quantile(before, after, "flashu_x_seconds", 0.8) == pytest.approx(1.5)
    assert histogram_quantile(before, before, "flashu_x_seconds", 0.5) is None
    assert histogram_quantile({}, {}, "flashu_x_seconds", 0.5) is None
    seconds.labels("a").observe(100.0)
    beyond = parse(generate_latest(registry).decode())
    assert histogram_quantile(after, beyond, "flashu_x_seconds", 0.5) == 4.0
    assert math.isfinite(histogram_quantile(before, beyond, "flashu_x_seconds", 0.99) or math.inf)


@pytest.mark.parametrize("status", [401, 200])
async def test_a_server_that_shows_no_metrics_has_none(
    status: int, serving: Callable[..., AbstractAsyncContextManager[str]], response: Callable[..., bytes]
) -> None:
    async def handler(head: bytes, body: bytes) -> bytes:
        return response(status, b"<html>")

    async with serving(handler) as url:
        assert await scrape(Client(url)) == {}
