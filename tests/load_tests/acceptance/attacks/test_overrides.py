"""One-time overrides differ from each other, nearly equal ones hardly; memory that stays counts as growth."""

from __future__ import annotations

import json
import random

import pytest

from load_tests.acceptance.attacks.overrides import distinct, judge_growth, near_overrides
from load_tests.acceptance.soak import Held


def test_no_two_requests_share_a_value() -> None:
    rng = random.Random(0)
    for task in ("generate", "vqa"):
        bodies = [json.loads(distinct(rng, task).body) for _ in range(1000)]
        assert all(body["task"] == task for body in bodies)
        ratios = {body["acceleration"]["ffn_ratio"] for body in bodies}
        assert len(ratios) == 1000


def test_nearly_equal_is_not_equal() -> None:
    pairs = [pair for overrides in near_overrides() for pair in overrides.items()]
    assert len(set(pairs)) == len(pairs)
    values = [value for _, value in pairs]
    assert all(abs(value - round(value, 2)) < 1e-6 for value in values)
    assert all(value != round(value, 2) for value in values)


@pytest.mark.parametrize(("kept", "verdict"), [(0, "met"), (20_000, "missed")])
def test_what_each_override_leaves_behind(kept: int, verdict: str) -> None:
    samples = [Held(requests=8 * n, memory=10**8 + kept * 8 * n, descriptors=0, threads=0) for n in range(100)]
    (target,) = judge_growth({"worker": samples}, {200})
    assert target.verdict == verdict
    assert target.measured == pytest.approx(kept / 1000)


def test_requests_that_were_refused_show_nothing() -> None:
    samples = [Held(requests=8 * n, memory=10**8, descriptors=0, threads=0) for n in range(100)]
    (target,) = judge_growth({"worker": samples}, {200, 503})
    assert target.verdict == "missed"
    assert "503" in target.note
