"""Shares are weighted max-min fair; getting less, or waiting longer than the limit, misses the promise."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from flashu_core.types import Task
from load_tests.acceptance.phases import Capacity, Found
from load_tests.acceptance.shares import fair_shares, share_targets
from load_tests.acceptance.target import Target
from load_tests.bench.arrivals import Window
from load_tests.bench.record import Record

PHASE = "overload 10x"
WEIGHTS: Mapping[Task, float] = {"generate": 1.0, "vqa": 4.0}


@pytest.mark.parametrize(
    ("pictures", "answers", "expected"),
    [
        (0.3, 0.4, (0.3, 0.4)),  # there is enough for all
        (9.0, 8.0, (0.2, 0.8)),  # both want more than theirs
        (9.0, 0.3, (0.7, 0.3)),  # what answers leave is the pictures'
        (0.1, 9.0, (0.1, 0.9)),
        (0.0, 9.0, (0.0, 1.0)),
    ],
)
def test_a_capacity_is_divided(pictures: float, answers: float, expected: tuple[float, float]) -> None:
    found = fair_shares({"generate": pictures, "vqa": answers}, WEIGHTS, 1.0)
    assert (found["generate"], found["vqa"]) == pytest.approx(expected)


def run(made: Callable[..., Record], pictures_done: int, wait_s: float = 0.5, left: float = 1.0) -> dict[str, Target]:
    """Ten seconds, in which 200 pictures of 0.1 s and 2000 answers of 0.01 s are asked for, twice what can be done of
    each alone; 800 answers are done."""
    found = Found(
        windows={PHASE: Window(0.0, 10.0)}, capacity=Capacity(alone={"generate": 10, "vqa": 100}, mix=1, work=1)
    )
    for task, requested, done, seconds in (("generate", 200, pictures_done, 0.1), ("vqa", 2000, 800, 0.01)):
        for index in range(requested):
            at = 10 * index / requested
            timings = {"total": 1000 * seconds}
            end = at + seconds + wait_s
            values = {"sent": at, "first_byte": end, "end": min(end, 9.99), "status": 200 if index < done else 503}
            found.records.append(made(phase=PHASE, task=task, scheduled=at, timings_ms=timings, **values))
    targets = share_targets(found, {PHASE: left}, answer_weight=4.0, max_queue_s=2.0)
    return {target.name: target for target in targets}


def test_pictures_keep_their_share(made: Callable[..., Record]) -> None:
    name = f"goodput of pictures, {PHASE}, of their share"
    kept = run(made, 20)
    assert kept[name].measured == pytest.approx(1.0, rel=0.05)
    assert {target.verdict for target in kept.values()} == {"met"}
    assert run(made, 10)[name].verdict == "missed"


def test_what_refusals_leave_is_divided(made: Callable[..., Record]) -> None:
    name = f"goodput of pictures, {PHASE}, of their share"
    assert run(made, 13, left=1.0)[name].verdict == "missed"
    assert run(made, 13, left=0.8)[name].verdict == "met"
    assert run(made, 5, left=0.8)[name].verdict == "missed"


def test_who_is_accepted_waits_no_longer_than_the_limit(made: Callable[..., Record]) -> None:
    found = run(made, 20, wait_s=3.0)
    assert found[f"wait of accepted pictures, {PHASE}, p95"].verdict == "missed"
    assert found[f"wait of accepted answers, {PHASE}, p95"].measured == pytest.approx(3.0)


def test_an_unknown_limit_is_nothing_to_judge(made: Callable[..., Record]) -> None:
    found = Found(windows={PHASE: Window(0.0, 1.0)}, capacity=Capacity(alone={"generate": 1, "vqa": 1}, mix=1, work=1))
    found.records.append(made(phase=PHASE, task="vqa", end=0.5))
    targets = share_targets(found, {PHASE: 1.0}, answer_weight=4.0, max_queue_s=None)
    verdicts = {target.name: target.verdict for target in targets}
    assert verdicts[f"wait of accepted answers, {PHASE}, p95"] == "nothing to judge"
    assert verdicts[f"goodput of pictures, {PHASE}, of their share"] == "nothing to judge"  # none was asked for
