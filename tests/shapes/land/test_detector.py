from __future__ import annotations

from random import Random

import numpy as np
import pytest
import torch

from shapes.land.accuracy import agrees
from shapes.land.detector import FEATURES, PIXELS, STRIDE, decode, find, tensor_of, trained
from shapes.land.painting import BACKGROUNDS, COLOURS, paint
from shapes.land.scenes import NAMES, any_scene, painted
from shapes.land.things import Scene, Thing
from shapes.land.train_detector import loss, targets

SCENES = [any_scene(Random(seed)) for seed in range(40)]


def test_it_sees_what_is_there() -> None:
    found = find([painted(scene, PIXELS) for scene in SCENES])
    assert sum(agrees(each, scene) for each, scene in zip(found, SCENES, strict=True)) >= 38


def test_pictures_of_other_sizes_are_seen_in_its_own() -> None:
    small, large = find([painted(SCENES[0], PIXELS), painted(SCENES[0], 3 * PIXELS)])
    assert agrees(small, SCENES[0]) and agrees(large, SCENES[0])


def test_a_background_alone_has_nothing() -> None:
    assert find([paint([], background=name, pixels=PIXELS) for name in BACKGROUNDS]) == [[] for _ in BACKGROUNDS]


def test_a_centre_at_the_corner_of_four_cells_is_found() -> None:
    cells = PIXELS // STRIDE
    things = (Thing(figure="cat", colour="red", x=6 / cells), Thing(figure="car", colour="blue", x=18 / cells))
    scene = Scene(things=things, background="meadow")
    assert agrees(find([painted(scene, PIXELS)])[0], scene)


def test_perfect_maps_give_the_scene() -> None:
    side = PIXELS // STRIDE
    wanted = targets(SCENES, side)
    heat, colour, rest = wanted[:, : len(NAMES)], wanted[:, len(NAMES)], wanted[:, -3:]
    one_hot = torch.nn.functional.one_hot(colour.long(), len(COLOURS)).permute(0, 3, 1, 2)
    maps = torch.cat([torch.logit(heat.clamp(1e-4, 1 - 1e-4)), one_hot.float(), rest], dim=1)
    for scene, each in zip(SCENES, decode(maps), strict=True):
        assert agrees(each, scene)
        assert sorted(round(one.x, 4) for one in each) == sorted(round(thing.x, 4) for thing in scene.things)


def test_the_loss_is_least_at_perfect_maps() -> None:
    side = PIXELS // STRIDE
    wanted = targets(SCENES[:4], side)
    one_hot = torch.nn.functional.one_hot(wanted[:, len(NAMES)].long(), len(COLOURS)).permute(0, 3, 1, 2)
    sure = torch.where(wanted[:, : len(NAMES)] == 1.0, 9.0, -9.0)
    perfect = torch.cat([sure, 20.0 * one_hot, wanted[:, -3:]], dim=1)
    assert loss(perfect, wanted) < 0.01
    assert loss(perfect.roll(1, dims=-1), wanted) > 1.0
    assert loss(perfect.roll(1, dims=1), wanted) > 1.0


def test_features_are_one_row_a_picture() -> None:
    images = tensor_of([painted(scene, PIXELS) for scene in SCENES[:3]])
    features = trained().features(images)
    assert features.shape == (3, FEATURES) and bool(features.isfinite().all())


@pytest.mark.parametrize("shape", [(48, 48, 3), (PIXELS, PIXELS, 3)])
def test_tensors_are_signed_and_of_its_size(shape: tuple[int, int, int]) -> None:
    tensor = tensor_of([np.full(shape, 255, np.uint8)])
    assert tensor.shape == (1, 3, PIXELS, PIXELS) and bool((tensor == 1.0).all())
