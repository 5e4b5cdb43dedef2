"""A failed start misses both promises; a second start that is no faster misses the second."""

from __future__ import annotations

import pytest

from load_tests.acceptance.attacks.checkpoints import judge


@pytest.mark.parametrize(
    ("first_s", "second_s", "verdicts"),
    [
        (10.0, 4.0, ["met", "met"]),
        (10.0, 10.0, ["met", "missed"]),
        (90.0, 4.0, ["missed", "met"]),
        (None, None, ["missed", "missed"]),
        (10.0, None, ["met", "missed"]),
    ],
)
def test_two_starts(first_s: float | None, second_s: float | None, verdicts: list[str]) -> None:
    targets = judge(first_s, "it ended", second_s, "it ended")
    assert [target.verdict for target in targets] == verdicts
    if first_s is None:
        assert targets[0].note == "it ended"
