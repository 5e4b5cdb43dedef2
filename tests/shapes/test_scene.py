"""Scenes: what counts as a valid one, the words for places, and what the training mix holds back."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shapes.scene import (
    COLOURS,
    EXTENTS,
    FORMS,
    HELD_OUT,
    KINDS,
    RELATIONS,
    SIZES,
    Scene,
    Thing,
    counting_scene,
    is_held_out,
    mixed_colour_scene,
    pair_scene,
    placed_scene,
    region,
    relation,
    sample_scene,
    several_scene,
    single_scene,
)
from shapes.seeds import grading_rng, training_rng


def thing(x: float, y: float, **changes: object) -> Thing:
    return Thing(**({"form": "circle", "colour": "red", "size": "small", "x": x, "y": y} | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "changes",
    [{"form": "star"}, {"colour": "pink"}, {"size": "huge"}, {"x": 0.1}, {"y": 0.9}, {"x": float("nan")}],
)
def test_thing_refuses_what_it_cannot_be(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        thing(**({"x": 0.5, "y": 0.5} | changes))  # type: ignore[arg-type]


def test_scene_refuses_crowding_emptiness_and_unknown_backgrounds() -> None:
    with pytest.raises(ValueError):
        Scene(things=(), background="white")
    with pytest.raises(ValueError):
        Scene(things=(thing(0.5, 0.5),), background="pink")  # type: ignore[arg-type]
    with pytest.raises(ValueError):
        Scene(things=(thing(0.4, 0.5), thing(0.64, 0.5)), background="white")
    Scene(things=(thing(0.4, 0.5), thing(0.65, 0.5)), background="white")


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ((0.2, 0.5), "left of"),
        ((0.8, 0.5), "right of"),
        ((0.5, 0.2), "above"),
        ((0.5, 0.8), "below"),
        ((0.2, 0.2), None),
        ((0.3, 0.5), None),
        ((0.2, 0.71), "left of"),
        ((0.2, 0.74), None),
    ],
)
def test_relation_is_named_only_where_clear(place: tuple[float, float], expected: str | None) -> None:
    assert relation(thing(*place), thing(0.5, 0.5)) == expected


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ((0.5, 0.5), "centre"),
        ((0.57, 0.44), "centre"),
        ((0.6, 0.5), None),
        ((0.2, 0.5), "left"),
        ((0.8, 0.6), "right"),
        ((0.5, 0.2), "top"),
        ((0.4, 0.8), "bottom"),
        ((0.2, 0.2), None),
    ],
)
def test_region_is_named_only_where_clear(place: tuple[float, float], expected: str | None) -> None:
    assert region(thing(*place)) == expected


def test_relations_mirror_each_other() -> None:
    opposite = {"left of": "right of", "right of": "left of", "above": "below", "below": "above", None: None}
    rng = Random(0)
    for _ in range(500):
        a, b = pair_scene(rng).things
        assert opposite[relation(a, b)] == relation(b, a)


@settings(deadline=None)
@given(st.integers(0, 2**32), st.sampled_from(RELATIONS), st.sampled_from(SIZES), st.sampled_from(SIZES))
def test_pair_scene_places_things_as_asked(seed: int, related: str, first: str, second: str) -> None:
    kinds = (("purple", "triangle"), ("red", "circle"))
    scene = pair_scene(Random(seed), kinds=kinds, sizes=(first, second), related=related)  # type: ignore[arg-type]
    a, b = scene.things
    assert (a.kind, b.kind, a.size, b.size) == (*kinds, first, second)
    assert relation(a, b) == related


@settings(deadline=None)
@given(st.integers(0, 2**32), st.lists(st.sampled_from(SIZES), min_size=1, max_size=4))
def test_any_four_things_find_room(seed: int, sizes: list[str]) -> None:
    looks = [(("red", "square"), size) for size in sizes]
    scene = placed_scene(Random(seed), looks, background="grey")  # type: ignore[arg-type]
    assert [each.size for each in scene.things] == sizes
    for each in scene.things:
        assert each.extent == EXTENTS[each.size]
        assert each.extent <= each.x <= 1 - each.extent


def test_builders_give_the_contents_they_promise() -> None:
    rng = Random(1)
    for _ in range(300):
        assert len(single_scene(rng).things) == 1
        counted = counting_scene(rng, count=3, kind=("cyan", "circle"), size="small")
        assert {(each.kind, each.size) for each in counted.things} == {(("cyan", "circle"), "small")}
        assert len(counted.things) == 3
        mixed = mixed_colour_scene(rng)
        assert len({each.form for each in mixed.things}) == 1 < len({each.colour for each in mixed.things})
        several = several_scene(rng)
        assert 3 <= len(several.things) == len({each.kind for each in several.things})


def test_training_never_pairs_held_out_kinds_with_others() -> None:
    rng = Random(2)
    alone: Counter[object] = Counter()
    for _ in range(5000):
        scene = sample_scene(rng)
        kinds = {each.kind for each in scene.things}
        assert len(kinds) == 1 or not kinds & HELD_OUT
        assert not is_held_out(scene)
        alone.update(kinds & HELD_OUT)
    # Held out beside other things, not alone.
    assert set(alone) == HELD_OUT and min(alone.values()) > 30


def test_without_holding_out_every_kind_comes_beside_others() -> None:
    rng = Random(3)
    scenes = [sample_scene(rng, held_out=frozenset()) for _ in range(2000)]
    assert any(is_held_out(scene) for scene in scenes)
    assert {each.kind for scene in scenes if len(scene.things) == 2 for each in scene.things} == set(KINDS)


def test_training_mix_has_the_shares_it_states() -> None:
    rng = Random(4)
    scenes = [sample_scene(rng) for _ in range(5000)]
    sizes = Counter(len(scene.things) for scene in scenes)
    assert 0.22 < sizes[1] / 5000 < 0.28
    assert 0.45 < sizes[2] / 5000 < 0.58
    pairs = [scene.things for scene in scenes if len(scene.things) == 2]
    assert sum(relation(*pair) is not None for pair in pairs) > 0.6 * len(pairs)
    assert {each.colour for scene in scenes for each in scene.things} == set(COLOURS)
    assert {each.form for scene in scenes for each in scene.things} == set(FORMS)


def test_sampling_repeats_with_the_seed_and_training_differs_from_grading() -> None:
    assert sample_scene(training_rng(7)) == sample_scene(training_rng(7))
    training = {training_rng(index).getrandbits(64) for index in range(500)}
    grading = {grading_rng(index).getrandbits(64) for index in range(500)}
    assert len(training) == len(grading) == 500 and not training & grading
