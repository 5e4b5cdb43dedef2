"""The grader: what it finds in clean, blurred and senseless pictures, and that it refuses wrong ones."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from shapes.finding import components
from shapes.grading import Found, find_objects, judge
from shapes.prompts import Prompt, Wanted, grading_prompts
from shapes.render import render
from shapes.scene import (
    COLOURS,
    FORMS,
    OPPOSITES,
    Kind,
    Scene,
    Size,
    counting_scene,
    mixed_colour_scene,
    pair_scene,
    placed_scene,
    sample_scene,
    several_scene,
    single_scene,
)

Pixels = NDArray[np.uint8]
BUILDERS: list[Callable[[Random], Scene]] = [
    single_scene,
    pair_scene,
    counting_scene,
    mixed_colour_scene,
    several_scene,
]


def spoiled(image: Pixels, noise: np.random.Generator) -> Pixels:
    """The picture blurred by one pixel and with noise of sigma 8."""
    blurred = np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(1.0)), dtype=np.float64)
    return np.clip(blurred + noise.normal(0.0, 8.0, blurred.shape), 0, 255).astype(np.uint8)


def seen(scene: Scene, image: Pixels) -> bool:
    """Whether exactly the scene's things are found, each where it is."""
    found = find_objects(image)
    left = list(scene.things)
    for each in found:
        fitting = [
            thing
            for thing in left
            if (thing.form, thing.colour, thing.size) == (each.form, each.colour, each.size)
            and abs(thing.x - each.x) + abs(thing.y - each.y) < 0.06
        ]
        if not fitting:
            return False
        left.remove(fitting[0])
    return not left


@pytest.mark.parametrize("build", BUILDERS)
def test_finds_what_was_rendered(build: Callable[[Random], Scene]) -> None:
    rng, noise = Random(0), np.random.default_rng(0)
    scenes = [build(rng) for _ in range(500)]
    clean = spoilt = 0
    for scene in scenes:
        image = render(scene)
        clean += seen(scene, image)
        spoilt += seen(scene, spoiled(image, noise))
    assert clean >= 0.99 * len(scenes)
    assert spoilt >= 0.95 * len(scenes)


@pytest.mark.parametrize("pixels", [48, 64, 96, 200])
def test_finds_what_was_rendered_at_other_sizes(pixels: int) -> None:
    rng = Random(1)
    scenes = [sample_scene(rng, held_out=frozenset()) for _ in range(150)]
    assert sum(seen(scene, render(scene, pixels)) for scene in scenes) >= 149


def test_wide_pictures_are_read_too() -> None:
    image = np.full((64, 128, 3), 248, dtype=np.uint8)
    image[20:40, 90:110] = (45, 65, 225)
    (only,) = find_objects(image)
    assert (only.form, only.colour) == ("square", "blue")
    assert (only.x, only.y) == pytest.approx((100 / 128, 30 / 64))


def test_images_of_another_make_are_refused() -> None:
    for bad in (
        np.zeros((15, 64, 3), np.uint8),
        np.zeros((64, 64), np.uint8),
        np.zeros((64, 64, 3), np.float32),
    ):
        with pytest.raises(ValueError):
            find_objects(bad)  # type: ignore[arg-type]


@pytest.mark.parametrize("shade", [0, 128, 255])
def test_blank_and_colourless_pictures_hold_nothing(shade: int) -> None:
    image = np.full((64, 64, 3), shade, dtype=np.uint8)
    assert find_objects(image) == []
    image[20:40, 20:40] = 255 - shade if shade != 128 else 30
    assert find_objects(image) == []


def test_noise_holds_no_forms() -> None:
    noise = np.random.default_rng(2)
    for blur in (0.0, 1.0, 2.0):
        for _ in range(30):
            pixels = noise.integers(0, 256, (64, 64, 3)).astype(np.uint8)
            image = np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(blur)))
            assert [each for each in find_objects(image) if each.form is not None] == []


BLOBS: dict[str, list[tuple[int, int]]] = {
    "bar": [(10, 28), (54, 28), (54, 36), (10, 36)],
    "ell": [(15, 15), (25, 15), (25, 40), (50, 40), (50, 50), (15, 50)],
    "upside down": [(14, 16), (50, 16), (32, 52)],
    "diamond": [(32, 12), (52, 32), (32, 52), (12, 32)],
    "star": [(32, 8), (37, 27), (56, 32), (37, 37), (32, 56), (27, 37), (8, 32), (27, 27)],
    "hourglass": [(14, 14), (50, 14), (14, 50), (50, 50)],
    "lying triangle": [(14, 14), (50, 32), (14, 50)],
    "corner": [(14, 14), (50, 50), (14, 50)],
}


def blob(name: str, colour: str) -> Pixels:
    """One blob on white: a polygon of the table, or one of the round ones."""
    canvas = Image.new("RGB", (64, 64), (248, 248, 248))
    draw = ImageDraw.Draw(canvas)
    if name == "ring":
        draw.ellipse((14, 14, 50, 50), outline=colour, width=6)
    elif name == "ellipse":
        draw.ellipse((8, 22, 56, 42), fill=colour)
    elif name == "half":
        draw.pieslice((10, 14, 54, 58), 180, 360, fill=colour)
    else:
        draw.polygon(BLOBS[name], fill=colour)
    return np.asarray(canvas)


@pytest.mark.parametrize("name", [*BLOBS, "ring", "ellipse", "half"])
def test_blobs_are_no_forms(name: str) -> None:
    for colour in ("rgb(220,40,40)", "rgb(40,205,215)"):
        (only,) = find_objects(blob(name, colour))
        assert only.form is None, (only.form, only.confidence)


def test_touching_things_of_different_colours_stay_apart() -> None:
    image = np.full((64, 64, 3), 12, dtype=np.uint8)
    image[22:42, 12:32] = (220, 40, 40)
    image[22:42, 32:52] = (45, 65, 225)
    assert {(each.form, each.colour) for each in find_objects(image)} == {
        ("square", "red"),
        ("square", "blue"),
    }


def test_components_agree_with_flood_fill() -> None:
    rng = np.random.default_rng(3)
    for _ in range(20):
        labels = (rng.integers(0, 4, (17, 23)) * rng.integers(0, 2, (17, 23))).astype(np.int8)
        expected = set()
        left = {(int(r), int(c)) for r, c in np.argwhere(labels)}
        while left:
            stack = [left.pop()]
            patch = set(stack)
            while stack:
                r, c = stack.pop()
                for near in ((r + 1, c), (r - 1, c), (r, c + 1), (r, c - 1)):
                    if near in left and labels[near] == labels[r, c]:
                        left.remove(near)
                        patch.add(near)
                        stack.append(near)
            expected.add(frozenset(patch))
        got = {frozenset(zip(r.tolist(), c.tolist(), strict=True)) for _, r, c in components(labels)}
        assert got == expected


def fulfilling(prompt: Prompt, rng: Random) -> Scene:
    """A scene that shows what the prompt asks for and nothing else."""
    looks: list[tuple[Kind, Size]] = []
    for want in prompt.wanted:
        colour = rng.choice(COLOURS) if want.colour is None else want.colour
        looks += [((colour, want.form), want.size or "small")] * want.count
    if prompt.relation:
        return pair_scene(
            rng, kinds=(looks[0][0], looks[1][0]), sizes=(looks[0][1], looks[1][1]), related=prompt.relation
        )
    return placed_scene(rng, looks)


def twisted(prompt: Prompt) -> list[Prompt]:
    """Prompts that a picture made for the given one must not meet."""
    wanted = prompt.wanted

    def wanting(*changed: Wanted) -> Prompt:
        return Prompt(category=prompt.category, text="x", wanted=changed, relation=prompt.relation)

    first = wanted[0]
    unused = [form for form in FORMS if form not in {want.form for want in wanted}]
    wrong = [wanting(Wanted(form=unused[0], colour=first.colour, count=first.count), *wanted[1:])]
    if first.colour is not None:
        other = COLOURS[COLOURS.index(first.colour) - 1]
        wrong.append(wanting(Wanted(form=first.form, colour=other, count=first.count), *wanted[1:]))
    if len(wanted) == 2 and first.colour is not None and first.colour != wanted[1].colour:
        swapped = [Wanted(form=a.form, colour=b.colour) for a, b in (wanted, wanted[::-1])]
        wrong.append(wanting(*swapped))
    if prompt.relation is not None:
        opposite = OPPOSITES[prompt.relation]
        wrong.append(Prompt(category="position", text="x", wanted=wanted, relation=opposite))
    if first.size is not None:
        sized = [Wanted(form=a.form, colour=a.colour, size=b.size) for a, b in (wanted, wanted[::-1])]
        wrong.append(wanting(*sized))
    if prompt.category == "counting":
        for count in {1, 2, 3, 4} - {first.count}:
            wrong.append(wanting(Wanted(form=first.form, colour=first.colour, count=count)))
    return wrong


def test_right_pictures_pass_and_wrong_ones_fail() -> None:
    rng, noise = Random(4), np.random.default_rng(4)
    clean = spoilt = 0
    prompts = grading_prompts(300, 4)
    for prompt in prompts:
        image = render(fulfilling(prompt, rng))
        clean += judge(prompt, image)
        spoilt += judge(prompt, spoiled(image, noise))
        for wrong in twisted(prompt):
            assert not judge(wrong, image), (prompt.text, wrong)
    assert clean >= 0.99 * len(prompts)
    assert spoilt >= 0.95 * len(prompts)


def test_counting_refuses_a_failed_extra_object() -> None:
    scene = counting_scene(Random(5), count=2, kind=("red", "circle"), size="small")
    prompt = Prompt(category="counting", text="two circles", wanted=(Wanted(form="circle", count=2),))
    image = render(scene)
    assert judge(prompt, image)
    canvas = Image.fromarray(image)
    ImageDraw.Draw(canvas).rectangle((4, 58, 60, 61), fill=(45, 65, 225))
    assert not judge(prompt, np.asarray(canvas))


def test_no_prompt_is_met_by_an_empty_picture() -> None:
    blank = np.full((64, 64, 3), 248, dtype=np.uint8)
    assert not any(judge(prompt, blank) for prompt in grading_prompts(120, 6))


def test_unrelated_pictures_seldom_pass() -> None:
    rng = Random(7)
    prompts = [p for p in grading_prompts(600, 7) if p.category in ("position", "colour_attribution")]
    passed = sum(judge(prompt, render(sample_scene(rng))) for prompt in prompts)
    assert passed < 0.05 * len(prompts)


def test_found_is_plain_data() -> None:
    (only,) = find_objects(render(single_scene(Random(8), kind=("green", "circle"), size="large")))
    assert isinstance(only, Found) and only.area == pytest.approx(3.1416 * 0.195**2, rel=0.05)
    assert only.extent == pytest.approx(0.195, abs=0.01) and only.confidence > 0.9
