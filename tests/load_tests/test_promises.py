"""What was seen becomes a promise kept or missed."""

from __future__ import annotations

from collections import Counter

import pytest

from load_tests import promises
from load_tests.harm import Refusal, Stall
from load_tests.soak import Held, Soak


def test_the_slowest_refusal_and_the_longest_wait_count() -> None:
    refusals = [Refusal(name="a", status=400, seconds=0.01), Refusal(name="b", status=400, seconds=0.3)]
    slowest = promises._slowest("bombs", refusals, 0.2)
    assert (slowest.measured, slowest.verdict) == (0.3, "missed")
    assert "b, of 2" in slowest.note
    stalled = [Stall(name="nothing", status=None, waited_s=0.5), Stall(name="c", status=400, waited_s=0.02)]
    longest = promises._longest(stalled)
    assert (longest.measured, longest.verdict) == (0.02, "met")
    assert "500 ms" in longest.note


@pytest.mark.parametrize(
    ("statuses", "failures"), [({200: 5, 400: 3}, 0), ({200: 5, None: 1}, 1), ({200: 1, 500: 2, None: 1}, 3)]
)
def test_a_soak_counts_what_no_client_should_see(statuses: dict[int | None, int], failures: int) -> None:
    samples = [Held(requests=10 * n, memory=10**8 + 30_000 * n, descriptors=9, threads=4) for n in range(80)]
    found = promises._flat(Soak(sent=Counter(vqa=800), statuses=Counter(statuses), held={"worker": samples}))
    by_name = {target.name: target for target in found}
    assert by_name["soak: failures"].measured == failures
    grown = by_name["soak: growth of the worker for 1000 requests"]
    assert grown.measured == pytest.approx(3.0)
    assert grown.verdict == "missed"
    assert by_name["soak: more threads of the worker"].verdict == "met"


def test_only_statuses_of_refusals_are_refusals() -> None:
    assert [promises._refused(status) for status in (400, 413, 200, 500, None)] == [True, True, False, False, False]
