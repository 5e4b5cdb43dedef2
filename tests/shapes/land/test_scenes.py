from __future__ import annotations

from collections import Counter
from itertools import permutations
from random import Random

import numpy as np
import pytest

from shapes.land.held_out import held_out_count, held_out_kind, held_out_relation, is_held_out
from shapes.land.scenes import NAMES, PALETTE, Look, any_scene, counted, in_between, painted, related, sample_scene
from shapes.land.things import OPPOSITES, RELATIONS, Relation, between, relation
from shapes.land.usual import USUAL_COLOURS, as_read

SCENES = [sample_scene(Random(seed)) for seed in range(1500)]


def test_the_same_seed_is_the_same_scene_and_picture() -> None:
    one, other = (sample_scene(Random(3)) for _ in range(2))
    assert one == other
    assert np.array_equal(painted(one, 48), painted(other, 48))


def test_the_mix_has_every_number_figure_colour_and_background() -> None:
    numbers = Counter(len(scene.things) for scene in SCENES)
    assert set(numbers) == {1, 2, 3, 4, 5, 6} and min(numbers.values()) > 20
    assert {thing.figure for scene in SCENES for thing in scene.things} == set(NAMES)
    assert {thing.colour for scene in SCENES for thing in scene.things} == set(PALETTE)
    assert len({scene.background for scene in SCENES}) == 6


def test_training_shows_nothing_that_is_held_out() -> None:
    for scene in SCENES:
        assert not any(held_out_kind(*thing.kind) for thing in scene.things)
        assert not any(held_out_count(n, name) for name, n in Counter(t.figure for t in scene.things).items())
        for a, b in permutations(scene.things, 2):
            found = relation(a, b)
            assert found is None or not held_out_relation(a.figure, found, b.figure)


def test_a_tenth_of_what_can_be_asked_for_is_held_out() -> None:
    kinds = [held_out_kind(colour, figure) for colour in PALETTE for figure in NAMES]
    counts = [held_out_count(count, figure) for count in range(2, 7) for figure in NAMES]
    relations = [held_out_relation(a, r, b) for a, b in permutations(NAMES, 2) for r in RELATIONS]
    assert 0.04 < np.mean(kinds) < 0.12 and 0.04 < np.mean(counts) < 0.14 and 0.02 < np.mean(relations) < 0.05
    assert not any(held_out_kind(colour, figure) for figure, own in USUAL_COLOURS.items() for colour in own)
    assert any(is_held_out(any_scene(Random(seed))) for seed in range(50))


def test_a_relation_is_held_out_from_either_side() -> None:
    for a, b in permutations(NAMES[:8], 2):
        for name in RELATIONS:
            assert held_out_relation(a, name, b) == held_out_relation(b, OPPOSITES[name], a)


@pytest.mark.parametrize("wanted", RELATIONS)
def test_a_related_pair_lies_as_wanted(wanted: Relation) -> None:
    pair = (Look(figure="cat", colour="red"), Look(figure="house", colour="blue"))
    for seed in range(30):
        first, second = related(Random(seed), pair, wanted).things
        assert (first.figure, second.figure) == ("cat", "house")
        assert relation(first, second) == wanted


def test_the_first_of_three_stands_between_the_others() -> None:
    for seed in range(30):
        middle, left, right = in_between(Random(seed)).things
        assert between(middle, left, right)


def test_two_kinds_are_counted_in_the_order_of_reading() -> None:
    groups = [(Look(figure="star", colour="yellow"), 2), (Look(figure="cup", colour="blue"), 3)]
    for seed in range(30):
        scene = counted(Random(seed), groups)
        assert [thing.figure for thing in as_read(scene.things)] == ["star"] * 2 + ["cup"] * 3
