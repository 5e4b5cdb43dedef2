from __future__ import annotations

from collections import Counter
from random import Random

import numpy as np
import pytest

from shapes.land.accuracy import ALTERED, agrees, changed, measure
from shapes.land.detector import Found, trained
from shapes.land.scenes import any_scene, painted
from shapes.land.things import EXTENTS, Scene, Thing

SCENE = Scene(
    things=(Thing(figure="cat", colour="red", x=0.25, y=0.6), Thing(figure="tree", colour="green", x=0.7, y=0.55))
)


def as_found(thing: Thing, **other: object) -> Found:
    values = {"figure": thing.figure, "colour": thing.colour, "x": thing.x, "y": thing.y}
    return Found(**{**values, "extent": EXTENTS[thing.size], "score": 1.0, **other})  # type: ignore[arg-type]


FOUND = [as_found(thing) for thing in SCENE.things]


def test_exactly_the_things_agree() -> None:
    assert agrees(FOUND, SCENE) and agrees(FOUND[::-1], SCENE)


@pytest.mark.parametrize(
    "found",
    [
        FOUND[:1],
        [*FOUND, FOUND[0]],
        [],
        [as_found(SCENE.things[0], colour="blue"), FOUND[1]],
        [as_found(SCENE.things[0], figure="ball"), FOUND[1]],
        [as_found(SCENE.things[0], x=0.4), FOUND[1]],
    ],
)
def test_whatever_else_does_not(found: list[Found]) -> None:
    assert not agrees(found, SCENE)


def test_a_changed_scene_differs_in_one_thing() -> None:
    changes = 0
    for seed in range(60):
        scene = any_scene(Random(seed))
        other = changed(scene, Random(seed))
        if other is not None:
            changes += 1
            gone = Counter(thing.kind for thing in scene.things) - Counter(thing.kind for thing in other.things)
            assert gone.total() == 1 and len(scene.things) - len(other.things) in (0, 1)
            assert other.background == scene.background
    assert changes > 40


@pytest.mark.parametrize("name", [name for name in ALTERED if name != "clean"])
def test_an_altered_picture_is_another_of_the_same_shape(name: str) -> None:
    image = painted(SCENE, 96)
    altered = ALTERED[name](image, Random(0))
    assert altered.shape == image.shape and altered.dtype == np.uint8
    assert 0 < np.abs(altered.astype(int) - image).mean() < 20


def test_the_detector_that_ships_is_right() -> None:
    shares = measure(trained(), 100)
    assert shares["clean"] >= 0.97 and min(shares[name] for name in ALTERED) >= 0.95
    assert shares["false accept"] <= 0.02
