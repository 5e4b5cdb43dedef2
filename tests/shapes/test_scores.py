from __future__ import annotations

import pytest

from shapes.scores import score, share, wilson


def test_overall_score_is_the_mean_of_category_means() -> None:
    results: list[tuple[str, bool]] = [("counting", True)] * 10 + [("position", False)] * 90
    scored = score(results)
    assert scored.overall.mean == pytest.approx(0.5)
    assert scored.overall.count == 100
    assert scored.categories["counting"].mean == 1.0
    assert scored.overall.low < 0.5 < scored.overall.high
    # Ten of the trials decide half of the score, so it is less sure than a hundred even ones.
    assert scored.overall.high - scored.overall.low > wilson(0.5, 100)[1] - wilson(0.5, 100)[0]
    with pytest.raises(ValueError):
        score([])


def test_wilson_interval_against_published_values() -> None:
    assert wilson(0.5, 10) == pytest.approx((0.2366, 0.7634), abs=1e-4)
    assert wilson(0.0, 10) == pytest.approx((0.0, 0.2775), abs=1e-4)
    with pytest.raises(ValueError):
        wilson(1.1, 10)


def test_a_share_has_its_interval() -> None:
    found = share([True] * 5 + [False] * 5)
    assert (found.mean, found.count) == (0.5, 10)
    assert (found.low, found.high) == wilson(0.5, 10)
    with pytest.raises(ValueError, match="trials"):
        share([])
