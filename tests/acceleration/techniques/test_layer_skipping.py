from __future__ import annotations

import pytest

from flashu_core.acceleration.techniques.layer_skipping import similar_layers


def test_layers_with_the_highest_similarity_are_chosen() -> None:
    assert similar_layers([0.1, 0.9, 0.5, 0.8], 0.5) == {1, 3}
    assert similar_layers([0.1, 0.9, 0.5, 0.8], 0.0) == frozenset()


@pytest.mark.parametrize(("layers", "ratio", "count"), [(8, 0.2, 1), (28, 0.2, 5), (28, 0.1, 2), (10, 0.3, 3)])
def test_the_share_is_rounded_down(layers: int, ratio: float, count: int) -> None:
    assert len(similar_layers([1.0 / (1 + layer) for layer in range(layers)], ratio)) == count


def test_equal_layers_are_taken_in_order() -> None:
    assert similar_layers([0.5] * 6, 0.5) == {0, 1, 2}
