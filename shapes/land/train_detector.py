"""Trains the detector on rendered scenes and measures how often it is right: `python -m shapes.land.train_detector`.

Scenes have every pairing, held-out ones too: the judge must know what the model was never shown. Its test scenes are of
seeds that neither it nor the model trains on.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random
from typing import Annotated

import numpy as np
import torch
import typer
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from rich.progress import track
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

from flashu_core.threads import configure_threads
from shapes.land.detector import PIXELS, STRIDE, WEIGHTS, Detector, Found, find, tensor_of
from shapes.land.painting import COLOURS
from shapes.land.scenes import NAMES, any_scene, painted
from shapes.land.things import EXTENTS, Scene
from shapes.seeds import source
from shapes.training.optimiser import warm_cosine

Picture = NDArray[np.uint8]
_PALETTE = list(COLOURS)


def targets(scenes: list[Scene], side: int) -> Tensor:
    """Maps that a perfect detector would give: (B, figures + 4, side, side): heat, colour, offsets and extent."""
    maps = torch.zeros(len(scenes), len(NAMES) + 4, side, side)
    grid = torch.arange(side) + 0.5
    for row, scene in enumerate(scenes):
        for thing in scene.things:
            x, y = thing.x * side, thing.y * side
            spread = max(EXTENTS[thing.size] * side / 5, 0.5)
            near = torch.exp(-((grid[None] - x) ** 2 + (grid[:, None] - y) ** 2) / (2 * spread**2))
            figure = NAMES.index(thing.figure)
            maps[row, figure] = maps[row, figure].maximum(near)
            across, down = min(int(x), side - 1), min(int(y), side - 1)
            maps[row, figure, down, across] = 1.0
            maps[row, -4:, down, across] = torch.tensor(
                [
                    _PALETTE.index(thing.colour),
                    x - across - 0.5,
                    y - down - 0.5,
                    math.log(EXTENTS[thing.size] / EXTENTS["medium"]),
                ]
            )
    return maps


def loss(maps: Tensor, wanted: Tensor) -> Tensor:
    """CenterNet's focal loss of the heat, cross-entropy of the colours, absolute errors of places and extents."""
    count = len(NAMES)
    heat, goal = maps[:, :count], wanted[:, :count]
    inside = goal == 1.0
    log_yes, log_no = functional.logsigmoid(heat), functional.logsigmoid(-heat)
    sure = heat.sigmoid()
    number = inside.sum().clamp(min=1)
    focal = -torch.where(inside, (1 - sure) ** 2 * log_yes, (1 - goal) ** 4 * sure**2 * log_no).sum() / number
    centres = inside.any(dim=1)
    at = maps.permute(0, 2, 3, 1)[centres]
    of = wanted.permute(0, 2, 3, 1)[centres]
    colour = functional.cross_entropy(at[:, count:-3], of[:, -4].long())
    return focal + colour + 0.5 * functional.l1_loss(at[:, -3:], of[:, -3:])


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


def batch_of(step: int, size: int) -> tuple[Tensor, Tensor]:
    """Pictures of new scenes, most of them altered, and their maps."""
    rngs = [source("detector", step * size + offset) for offset in range(size)]
    scenes = [any_scene(rng) for rng in rngs]
    names = list(ALTERED)
    pictures = []
    for scene, rng in zip(scenes, rngs, strict=True):
        image = painted(scene, PIXELS)
        for name in rng.sample(names, rng.choice((1, 1, 2))):
            image = ALTERED[name](image, rng)
        pictures.append(image)
    return tensor_of(pictures), targets(scenes, PIXELS // STRIDE)


def main(
    destination: Annotated[Path, typer.Option(help="Where the weights go.")] = WEIGHTS,
    *,
    steps: Annotated[int, typer.Option(help="Updates.")] = 4000,
    size: Annotated[int, typer.Option(help="Pictures in an update.")] = 32,
    tested: Annotated[int, typer.Option(help="Scenes it is measured on, a multiple of 100.")] = 2000,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads that compute.")] = None,
) -> None:
    """Train the detector and print how often it is right."""
    configure_threads(threads)
    torch.manual_seed(0)
    detector = Detector()
    detector.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = torch.optim.AdamW(detector.parameters(), lr=2e-3, weight_decay=1e-3)
    for step in track(range(steps), description="detector"):
        images, wanted = batch_of(step, size)
        value = loss(detector(images.contiguous(memory_format=torch.channels_last)), wanted)
        optimiser.zero_grad()
        value.backward()
        torch.nn.utils.clip_grad_norm_(detector.parameters(), 5.0)
        for group in optimiser.param_groups:
            group["lr"] = 2e-3 * warm_cosine((step + 1) / steps)
        optimiser.step()
        if step % 100 == 99:
            print(step + 1, round(value.item(), 4), flush=True)
        if step % 500 == 499 or step + 1 == steps:
            state = detector.state_dict()
            save_file({name: tensor.contiguous() for name, tensor in state.items()}, destination)
            print(measure(detector.eval(), 300 if step + 1 < steps else tested), flush=True)
            detector.train()


if __name__ == "__main__":
    typer.run(main)
