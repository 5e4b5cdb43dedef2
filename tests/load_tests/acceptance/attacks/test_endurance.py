"""Observations of a soak become kept or missed promises."""

from __future__ import annotations

from collections import Counter

import pytest

from load_tests.acceptance.attacks.endurance import judge
from load_tests.acceptance.soak import Held, Soak


@pytest.mark.parametrize(
    ("statuses", "failures"), [({200: 5, 400: 3}, 0), ({200: 5, None: 1}, 1), ({200: 1, 500: 2, None: 1}, 3)]
)
def test_a_soak_counts_what_no_client_should_see(statuses: dict[int | None, int], failures: int) -> None:
    samples = [Held(requests=10 * n, memory=10**8 + 30_000 * n, descriptors=9, threads=4) for n in range(80)]
    found = judge(Soak(sent=Counter(vqa=800), statuses=Counter(statuses), held={"worker": samples}))
    by_name = {target.name: target for target in found}
    assert by_name["soak: failures"].measured == failures
    grown = by_name["soak: growth of the worker for 1000 requests"]
    assert grown.measured == pytest.approx(3.0)
    assert grown.verdict == "missed"
    assert by_name["soak: more threads of the worker"].verdict == "met"
