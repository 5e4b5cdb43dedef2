"""How often the detector is right about scenes that nothing trains on: `python -m shapes.land.accuracy`."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from flashu_core.machine import describe_machine
from flashu_core.threads import configure_threads
from shapes.land.detector import PIXELS, Detector, Found, find, trained
from shapes.land.painting import COLOURS
from shapes.land.scenes import NAMES, any_scene, painted
from shapes.land.things import EXTENTS, Scene
from shapes.seeds import source

Picture = NDArray[np.uint8]


def clean(image: Picture, rng: Random) -> Picture:  # noqa: ARG001
    """As it is."""
    return image


def blurred(image: Picture, rng: Random) -> Picture:
    """As a model that is not sure of an edge would draw it."""
    soft = Image.fromarray(image).filter(ImageFilter.GaussianBlur(rng.uniform(0.4, 1.0) * len(image) / 96))
    return np.asarray(soft)


def noisy(image: Picture, rng: Random) -> Picture:
    """With noise of up to a twentieth of the range."""
    noise = np.random.default_rng(rng.getrandbits(32)).normal(0, rng.uniform(3, 13), image.shape)
    altered: Picture = np.clip(image + noise, 0, 255).astype(np.uint8)
    return altered


def recoloured(image: Picture, rng: Random) -> Picture:
    """Brighter or darker, with each channel a little off."""
    scale = [rng.uniform(0.93, 1.07) * rng.uniform(0.97, 1.03) for _ in range(3)]
    altered: Picture = np.clip(image * np.array(scale), 0, 255).astype(np.uint8)
    return altered


ALTERED: Mapping[str, Callable[[Picture, Random], Picture]] = {
    "clean": clean,
    "blurred": blurred,
    "noisy": noisy,
    "recoloured": recoloured,
}


def agrees(found: list[Found], scene: Scene) -> bool:
    """Whether exactly the scene's things were found, each near its place."""
    left = list(found)
    for thing in scene.things:
        match = next(
            (
                each
                for each in left
                if (each.colour, each.figure) == thing.kind
                and math.hypot(each.x - thing.x, each.y - thing.y) < 0.6 * EXTENTS[thing.size]
            ),
            None,
        )
        if match is None:
            return False
        left.remove(match)
    return not left


def changed(scene: Scene, rng: Random) -> Scene | None:
    """The scene with one thing of another colour or figure, or without it; None where that would not fit."""
    index = rng.randrange(len(scene.things))
    thing = scene.things[index]
    how = rng.choice(("colour", "figure", "gone")) if len(scene.things) > 1 else rng.choice(("colour", "figure"))
    things = list(scene.things)
    if how == "gone":
        del things[index]
    else:
        names = [name for name in (COLOURS if how == "colour" else NAMES) if name != getattr(thing, how)]
        values = {"figure": thing.figure, "colour": thing.colour, how: rng.choice(names)}
        try:
            things[index] = type(thing)(**values, size=thing.size, x=thing.x, y=thing.y)
            return Scene(things=tuple(things), background=scene.background)
        except ValueError:
            return None
    return Scene(things=tuple(things), background=scene.background)


def measure(detector: Detector, count: int, *, batch: int = 100) -> dict[str, float]:
    """Shares of whole scenes found exactly, by how they were altered, and of changed scenes taken for the unchanged."""
    right: Counter[str] = Counter()
    total: Counter[str] = Counter()
    for first in range(0, count, batch):
        rngs = [source("detector-test", first + offset) for offset in range(batch)]
        scenes = [any_scene(rng) for rng in rngs]
        pictures = [painted(scene, PIXELS) for scene in scenes]
        for name, alter in ALTERED.items():
            results = find([alter(image, rng) for image, rng in zip(pictures, rngs, strict=True)], detector)
            right[name] += sum(agrees(found, scene) for found, scene in zip(results, scenes, strict=True))
            total[name] += batch
        pairs = [(scene, other) for scene, rng in zip(scenes, rngs, strict=True) if (other := changed(scene, rng))]
        results = find([painted(other, PIXELS) for _, other in pairs], detector)
        right["false accept"] += sum(agrees(found, scene) for found, (scene, _) in zip(results, pairs, strict=True))
        total["false accept"] += len(pairs)
    return {name: right[name] / total[name] for name in total}


def main(
    output: Annotated[Path, typer.Option(help="The JSON file of the shares.")],
    *,
    scenes: Annotated[int, typer.Option(help="Scenes to look at, a multiple of 100.")] = 2000,
) -> None:
    """Measure the detector that the grades are made with."""
    configure_threads()
    shares = {name: round(value, 4) for name, value in measure(trained(), scenes).items()}
    record = {"machine": describe_machine(), "scenes": scenes, "exactly_right": shares}
    output.write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps(shares))


if __name__ == "__main__":
    typer.run(main)
