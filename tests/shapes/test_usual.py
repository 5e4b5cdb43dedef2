"""Usual scenes: mostly arranged as expected, open to the unusual, and never what training holds out."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from shapes.scene import FORMS, KINDS, is_held_out
from shapes.things import Scene, Thing, relation
from shapes.usual import (
    USUAL_COLOURS,
    arranged,
    as_read,
    drawn_scene,
    has_usual_colours,
    has_usual_sizes,
    usual_scene,
    usual_size,
)


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    rng = Random(0)
    return [usual_scene(rng) for _ in range(6000)]


def test_nothing_held_out_comes_beside_others() -> None:
    rng = Random(1)
    assert not any(is_held_out(drawn_scene(rng)) for _ in range(3000))


def test_every_kind_and_number_turns_up(scenes: list[Scene]) -> None:
    assert {thing.kind for scene in scenes for thing in scene.things} == set(KINDS)
    numbers = Counter(len(scene.things) for scene in scenes)
    assert min(numbers[count] for count in (1, 2, 3, 4)) > 300


def test_the_usual_is_frequent_but_not_the_rule(scenes: list[Scene]) -> None:
    coloured = sum(map(has_usual_colours, scenes)) / len(scenes)
    sized = sum(map(has_usual_sizes, scenes)) / len(scenes)
    assert 0.35 < coloured < 0.6
    assert 0.55 < sized < 0.9


def test_two_kinds_stand_side_by_side_or_above_each_other(scenes: list[Scene]) -> None:
    pairs = [scene.things for scene in scenes if len({thing.kind for thing in scene.things}) == len(scene.things) == 2]
    found = Counter(relation(first, second) for first, second in pairs)
    assert set(found) == {"left of", "above"}
    assert 0.5 < found["left of"] / len(pairs) < 0.7


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_any_sway_keeps_things_apart_and_inside(count: int) -> None:
    """`Scene` refuses things that touch or leave the picture."""
    rng = Random(count)
    for _ in range(500):
        scene = arranged(rng, [(("red", "circle"), usual_size(count))] * count)
        assert has_usual_colours(scene) and has_usual_sizes(scene)


def test_every_form_has_a_usual_colour_that_may_be_seen_beside_others() -> None:
    assert set(USUAL_COLOURS) == set(FORMS)
    rng = Random(2)
    looks = [((USUAL_COLOURS[form], form), usual_size(3)) for form in FORMS]
    assert not is_held_out(arranged(rng, looks))


def test_things_are_read_left_to_right_or_top_to_bottom() -> None:
    def thing(x: float, y: float) -> Thing:
        return Thing(form="circle", colour="red", size="small", x=x, y=y)

    left, right, top, bottom = thing(0.2, 0.5), thing(0.8, 0.55), thing(0.5, 0.2), thing(0.55, 0.8)
    assert as_read([right, left]) == [left, right]
    assert as_read([bottom, top]) == [top, bottom]
