"""Quantiles, throughput and recovery time, on numbers small enough to check by hand."""

from __future__ import annotations

import itertools
import random

import pytest

from load_tests.bench.arrivals import Window
from load_tests.bench.statistics import (
    by_chance,
    least_ratio,
    max_concurrent,
    quantile,
    quantiles,
    settled_after,
    throughput,
)


def test_a_quantile_is_the_least_value_not_exceeded_by_its_share() -> None:
    hundred = [float(value) for value in range(100, 0, -1)]
    assert quantile(hundred, 0.5) == 50.0
    assert quantile(hundred, 0.99) == 99.0
    assert quantile([3.0], 0.99) == 3.0
    assert quantile([3.0, 1.0, 2.0, 4.0], 0.5) == 2.0
    assert quantile([3.0, 1.0, 2.0, 4.0], 0.99) == 4.0
    assert quantile([], 0.5) is None
    assert quantiles([]) == {"p50": None, "p90": None, "p95": None, "p99": None, "max": None}
    assert quantiles([2.0, 1.0]) == {"p50": 1.0, "p90": 2.0, "p95": 2.0, "p99": 2.0, "max": 2.0}


def test_throughput_counts_what_is_half_in_the_window_as_a_half() -> None:
    window = Window(10.0, 20.0)
    assert throughput([(12.0, 14.0)] * 5, window) == pytest.approx(0.5)
    assert throughput([(8.0, 12.0), (18.0, 22.0)], window) == pytest.approx(0.1)
    assert throughput([(0.0, 30.0)], window) == pytest.approx(1 / 30)
    assert throughput([(0.0, 9.0), (21.0, 22.0)], window) == 0.0
    assert throughput([], window) == 0.0


def test_throughput_of_work_that_took_no_time_counts_where_it_ended() -> None:
    assert throughput([(10.0, 10.0), (20.0, 20.0)], Window(10.0, 20.0)) == pytest.approx(0.1)


def test_the_maximum_of_overlapping_spans() -> None:
    assert max_concurrent([]) == 0
    assert max_concurrent([(0.0, 1.0), (1.0, 2.0)]) == 1
    assert max_concurrent([(0.0, 3.0), (1.0, 2.0), (1.5, 4.0), (3.5, 5.0)]) == 3


def test_weights_of_throughput() -> None:
    assert throughput([(0.0, 1.0), (1.0, 2.0)], Window(0.0, 2.0), [3.0, 1.0]) == pytest.approx(2.0)


def test_bursts_do_not_blur_throughput_wherever_the_window_is() -> None:
    """Four batches of eight, one behind the other: 2 a second, although they end every four seconds."""
    spans = [(4.0 * batch, 4.0 * batch + 4.0) for batch in range(4) for _ in range(8)]
    assert throughput(spans, Window(1.0, 13.0)) == pytest.approx(2.0)
    assert throughput(spans, Window(3.9, 12.1)) == pytest.approx(2.0)


def test_when_all_is_normal_again() -> None:
    at_once = [(float(second), False) for second in range(10)]
    assert settled_after(at_once) == 0.0
    assert settled_after([(float(second), second < 4) for second in range(10)]) == 4.0
    assert settled_after([(float(second), True) for second in range(10)]) is None
    assert settled_after([(float(second), second == 9) for second in range(10)]) is None
    assert settled_after([]) is None


def test_a_single_stray_among_many_is_tolerated() -> None:
    hundred = [(second / 10, second < 10 or second == 70) for second in range(100)]
    assert settled_after(hundred) == 1.0
    assert settled_after(hundred, tolerated=0.0) == 7.1


def test_a_ratio_that_chance_explains_is_not_at_least_large() -> None:
    rng = random.Random(1)
    ones, others = ([rng.expovariate(1.0) for _ in range(300)] for _ in range(2))
    same = least_ratio(ones, others, 0.99)
    assert same is not None
    assert 0.3 < same < 1.2
    twice = least_ratio([2.5 * one for one in ones], others, 0.99)
    assert twice is not None
    assert twice > 1.2
    assert least_ratio([], others, 0.99) is None


def test_what_chance_explains_of_a_mean_is_its_spread_over_parts() -> None:
    window = Window(0.0, 18.0)
    assert by_chance(lambda part: 5.0, window) == 0.0
    levels = itertools.cycle([0.9, 1.1])
    assert by_chance(lambda part: next(levels), window) == pytest.approx(2 * 0.1095 / 6**0.5, rel=0.01)
    assert by_chance(lambda part: part.start, window) == 0.1  # no steady state
    assert by_chance(lambda part: part.start, Window(0.0, 5.0)) == 0.0  # one part shows no spread
