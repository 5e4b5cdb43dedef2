"""What is ahead of a newcomer where requests share a machine."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.worker.backlog import Part, seconds_ahead


def test_what_ends_within_the_time_is_all_ahead() -> None:
    assert seconds_ahead([], 10.0) == 0.0
    assert seconds_ahead([Part(0.5, 0.25)] * 7, 10.0) == pytest.approx(3.5)
    assert seconds_ahead([Part(2.0, 0.25)] * 7, 10.0) == pytest.approx(14.0)


def test_a_long_one_takes_its_share_of_the_time() -> None:
    assert seconds_ahead([Part(1000.0, 0.5)], 10.0) == pytest.approx(5.0)
    assert seconds_ahead([Part(1000.0, 0.5), Part(1.0, 0.1), Part(0.5, 0.1)], 10.0) == pytest.approx(6.5)


def test_long_ones_in_all_places_are_waited_for() -> None:
    assert seconds_ahead([Part(1000.0, 0.25)] * 3, 10.0) == pytest.approx(7.5)
    assert seconds_ahead([Part(1000.0, 0.25)] * 4, 10.0) == pytest.approx(4000.0)
    assert 20.0 <= seconds_ahead([Part(1000.0, 0.25)] * 3 + [Part(2.5, 0.25)] * 2, 10.0) < 40.0


def test_one_of_the_newcomer_s_own_size_is_all_ahead() -> None:
    assert seconds_ahead([Part(60.0, 0.0625, fair=60.0)], 10.0) == pytest.approx(60.0)
    assert seconds_ahead([Part(60.0, 0.0625, fair=3.0)], 10.0) == pytest.approx(3.0)


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([0.0, 0.1, 1.0, 5.0, 50.0]), st.sampled_from([1 / 16, 0.125, 0.5, 1.0]), st.integers(1, 9)
        ),
        max_size=30,
    ),
    st.sampled_from([0.5, 10.0, 60.0]),
)
def test_it_is_bounded_by_the_work_and_grows_with_it(source: list[tuple[float, float, int]], within: float) -> None:
    parts = [Part(left * factor, share) for left, share, factor in source]
    found = seconds_ahead(parts, within)
    assert 0.0 <= found <= max(sum(part.left for part in parts), within) + 1e-6
    if found > within:

        def served(seconds: float) -> float:
            return sum(min(part.left, part.share * seconds) for part in parts)

        assert all(served(more * found) <= more * found + 1e-6 for more in (1.0, 1.1, 2.0, 100.0))
    assert seconds_ahead([*parts, Part(1.0, 0.25)], within) >= found - 1e-6
