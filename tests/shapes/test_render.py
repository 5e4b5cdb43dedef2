"""Pictures of scenes: right colours in right places, smooth edges, areas as geometry says."""

from __future__ import annotations

from math import pi
from random import Random

import numpy as np
import pytest

from shapes.render import render
from shapes.scene import BACKGROUND_RGB, COLOUR_RGB, FORMS, SIZES, Form, Scene, Size, Thing, sample_scene


@pytest.mark.parametrize("pixels", [8, 48, 64, 200])
def test_picture_has_the_shape_asked_for(pixels: int) -> None:
    image = render(sample_scene(Random(0)), pixels)
    assert image.shape == (pixels, pixels, 3) and image.dtype == np.uint8


def test_too_small_a_picture_is_refused() -> None:
    with pytest.raises(ValueError):
        render(sample_scene(Random(0)), 7)


def test_centres_are_coloured_and_borders_are_background() -> None:
    rng = Random(1)
    for _ in range(200):
        scene = sample_scene(rng)
        image = render(scene)
        for thing in scene.things:
            pixel = image[int(thing.y * 64), int(thing.x * 64)]
            assert tuple(pixel) == COLOUR_RGB[thing.colour]
        border = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])
        assert (border == BACKGROUND_RGB[scene.background]).all()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("size", SIZES)
def test_covered_area_is_that_of_the_form(form: Form, size: Size) -> None:
    thing = Thing(form=form, colour="red", size=size, x=0.487, y=0.513)
    image = render(Scene(things=(thing,), background="black"), 256).astype(float)
    covered = (image[:, :, 0] - 12) / (COLOUR_RGB["red"][0] - 12)
    area = {"circle": pi, "square": 4.0, "triangle": 2.0}[form] * thing.extent**2
    assert covered.mean() == pytest.approx(area, rel=0.015)


def test_triangle_points_up() -> None:
    thing = Thing(form="triangle", colour="red", size="large", x=0.5, y=0.5)
    red = render(Scene(things=(thing,), background="black"))[:, :, 0] > 100
    widths = red.sum(axis=1)
    assert widths[22] < widths[32] < widths[42]


def test_edges_are_smooth() -> None:
    thing = Thing(form="circle", colour="red", size="large", x=0.507, y=0.489)
    image = render(Scene(things=(thing,), background="black"))
    assert len(np.unique(image[:, :, 0])) > 10


def test_moving_a_thing_by_whole_pixels_moves_its_picture() -> None:
    def at(x: float) -> np.ndarray:
        return render(
            Scene(things=(Thing(form="triangle", colour="blue", size="small", x=x, y=0.5),), background="grey")
        )

    assert (np.roll(at(0.25), 16, axis=1) == at(0.5)).all()


@pytest.mark.parametrize("form", FORMS)
def test_a_thing_in_the_middle_is_symmetric(form: Form) -> None:
    # Fails for any shift by a part of a pixel, which the eye would not see.
    thing = Thing(form=form, colour="purple", size="large", x=0.5, y=0.5)
    image = render(Scene(things=(thing,), background="white"))
    assert (image == image[:, ::-1]).all()
    assert (image == image[::-1]).all() == (form != "triangle")
