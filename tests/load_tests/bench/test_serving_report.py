"""The printed tables: verdicts, every kind of failure, and shares rounded down."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest
from rich.console import Console

from load_tests.bench.arrivals import Window
from load_tests.bench.capacity_search import Found, Probe
from load_tests.bench.hashes import Compared, Difference
from load_tests.bench.record import Record
from load_tests.bench.serving import Served, summarise_serving
from load_tests.bench.serving_report import show_hashes, show_search, show_serving
from load_tests.bench.slo import parse_slo

Make = Callable[..., Record]


@pytest.fixture
def console() -> Console:
    return Console(file=io.StringIO(), width=200)


def shown(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def served(records: list[Record]) -> Served:
    return Served(records=records, window=Window(0.0, 10.0), busy=0.1, before={}, after={})


def test_a_run(made: Make, console: Console) -> None:
    records = [made(end=0.4, first_event=0.1) for _ in range(99_999)]
    records.append(made(end=0.4, status=503, failure="overloaded"))
    summary = summarise_serving(served(records), parse_slo("vqa:p99=0.5,vqa:p100=0.5"))
    show_serving(summary, ["the moon is full"], console)
    text = shown(console)
    assert "99.99 %" in text
    assert "100.00 %" not in text
    assert "missed" in text
    assert "first event" in text
    assert "overloaded 1" in text
    assert "1 refused (1 of them without Retry-After)" in text
    assert "warning: the moon is full" in text


def test_a_search(made: Make, console: Console) -> None:
    objectives = parse_slo("vqa:p50=0.5")
    good = summarise_serving(served([made(end=0.4)]), objectives)
    bad = summarise_serving(served([made(end=0.6)]), objectives)
    show_search(Found(probes=[Probe(rate=1, met=True, summary=good), Probe(rate=2, met=False, summary=bad)]), console)
    assert "capacity: 1 requests per second; 2 misses the objectives" in shown(console)
    show_search(Found(probes=[Probe(rate=1, met=True, summary=good)]), console)
    assert "at least 1" in shown(console)
    show_search(Found(probes=[Probe(rate=1, met=False, summary=bad)]), console)
    assert "no tried rate" in shown(console)


def test_differences(console: Console) -> None:
    different = [Difference(key=f"generate/{index}", what="pixels", largest=3, mean=0.25) for index in range(12)]
    answer = Difference(key="vqa/0", what="answer", answers=("[red]", "blue"))
    show_hashes(Compared(verdict="differs in a batch", compared=20, differences=[answer, *different]), console)
    text = shown(console)
    assert "20 compared, 13 differ" in text
    assert "vqa/0: answer: '[red]', now 'blue'" in text
    assert "generate/0: pixels: at most 3 of 255, 0.250 on average" in text
    assert "and 3 more" in text
    assert "--replay alone for exact results" in text
