"""Arrivals are Poisson, seeded, match the rate, and are independent per task."""

from __future__ import annotations

import itertools
import math
import statistics

import pytest

from load_tests.bench.arrivals import Segment, Window, arrivals, windows

LONG = Segment(phase="long", seconds=200.0, rates={"vqa": 20.0, "generate": 5.0})


def test_as_many_arrive_as_the_rate_says() -> None:
    found = arrivals([LONG], seed=1)
    assert sum(one.task == "vqa" for one in found) == 4000
    assert sum(one.task == "generate" for one in found) == 1000
    assert [one.at for one in found] == sorted(one.at for one in found)
    assert all(0 <= one.at < 200 for one in found)


def test_gaps_are_exponential() -> None:
    times = [one.at for one in arrivals([LONG], seed=2) if one.task == "vqa"]
    gaps = [after - before for before, after in itertools.pairwise(times)]
    assert statistics.mean(gaps) == pytest.approx(1 / 20, rel=0.02)
    assert statistics.stdev(gaps) == pytest.approx(1 / 20, rel=0.06)
    for wait in (0.01, 0.05, 0.15):
        assert sum(gap > wait for gap in gaps) / len(gaps) == pytest.approx(math.exp(-20 * wait), abs=0.02)


def test_counts_of_seconds_vary_as_poisson_ones_do() -> None:
    counts = [0] * 200
    for one in arrivals([LONG], seed=3):
        counts[int(one.at)] += one.task == "vqa"
    assert statistics.variance(counts) / statistics.mean(counts) == pytest.approx(1.0, abs=0.25)


def test_a_seed_says_all_and_another_one_something_else() -> None:
    assert arrivals([LONG], seed=4) == arrivals([LONG], seed=4)
    assert arrivals([LONG], seed=4) != arrivals([LONG], seed=5)


def test_constant_spacing_is_even_and_each_task_has_its_own_row() -> None:
    found = arrivals([LONG], seed=2, spacing="constant")
    rows = {task: [one.at for one in found if one.task == task] for task in ("vqa", "generate")}
    for task, rate in (("vqa", 20.0), ("generate", 5.0)):
        assert len(rows[task]) == rate * 200  # type: ignore[index]
        gaps = [after - before for before, after in itertools.pairwise(rows[task])]  # type: ignore[index]
        assert gaps == pytest.approx([1 / rate] * len(gaps))
    assert not set(rows["vqa"]) & set(rows["generate"])
    assert found != arrivals([LONG], seed=3, spacing="constant")


def test_the_same_answers_arrive_with_and_without_pictures() -> None:
    alone = Segment(phase="alone", seconds=200.0, rates={"vqa": 20.0})
    times = [one.at for one in arrivals([LONG], seed=6) if one.task == "vqa"]
    assert [one.at for one in arrivals([alone], seed=6)] == times


def test_segments_follow_each_other_and_lead_ins_are_not_counted() -> None:
    segments = [
        Segment(phase="a", seconds=1.0, rates={"vqa": 50.0}, counted=False),
        Segment(phase="a", seconds=2.0, rates={"vqa": 50.0}),
        Segment(phase="b", seconds=3.0, rates={"vqa": 10.0}),
    ]
    found = arrivals(segments, seed=0)
    assert windows(segments) == {"a": Window(1.0, 3.0), "b": Window(3.0, 6.0)}
    assert len([one for one in found if not one.counted and one.at < 1.0]) == 50
    assert len([one for one in found if one.phase == "a" and one.counted and 1.0 <= one.at < 3.0]) == 100
    assert len([one for one in found if one.phase == "b" and 3.0 <= one.at < 6.0]) == 30
    assert len(found) == 180


@pytest.mark.parametrize(
    ("seconds", "rate", "named"),
    [
        (0.0, 1.0, "lasts 0.0 s"),
        (math.nan, 1.0, "lasts nan s"),
        (1.0, -1.0, "is -1.0 a second"),
        (1.0, math.inf, "inf"),
    ],
)
def test_what_cannot_be_is_refused(seconds: float, rate: float, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        Segment(phase="x", seconds=seconds, rates={"vqa": rate})
