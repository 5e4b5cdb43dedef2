"""Texts have maximum length, and the one with the longest wait counts."""

from __future__ import annotations

from load_tests.acceptance.attacks.texts import judge, texts
from load_tests.acceptance.probe import Waits
from server.limits import MAX_TEXT_CHARACTERS


def test_texts_are_long_and_allowed() -> None:
    assert all(0.9 * MAX_TEXT_CHARACTERS < len(text) <= MAX_TEXT_CHARACTERS for text in texts().values())


def test_the_longest_wait_counts() -> None:
    seen = {"short": Waits(probes=9, longest_s=0.02), "hard": Waits(probes=9, longest_s=0.3)}
    target = judge(seen)
    assert (target.measured, target.verdict) == (0.3, "missed")
    assert "hard, of 2" in target.note
    assert judge({"short": seen["short"]}).verdict == "met"
