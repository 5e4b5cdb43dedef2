"""Trains the detector on rendered scenes: `python -m shapes.land.train_detector`.

Scenes have every pairing, held-out ones too: the judge must know what the model was never shown.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.progress import track
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional

from flashu_core.threads import configure_threads
from shapes.land.accuracy import ALTERED, measure
from shapes.land.detector import PIXELS, STRIDE, WEIGHTS, Detector, tensor_of
from shapes.land.painting import COLOURS
from shapes.land.scenes import NAMES, any_scene, painted
from shapes.land.things import EXTENTS, Scene
from shapes.seeds import source
from shapes.training.optimiser import warm_cosine

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
    start: Annotated[Path | None, typer.Option(help="Weights to go on from.")] = None,
    rate: Annotated[float, typer.Option(help="The highest learning rate.")] = 2e-3,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads that compute.")] = None,
) -> None:
    """Train the detector and print how often it is right."""
    configure_threads(threads)
    torch.manual_seed(0)
    detector = Detector()
    if start is not None:
        detector.load_state_dict(load_file(start))
    detector.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = torch.optim.AdamW(detector.parameters(), lr=rate, weight_decay=1e-3)
    for step in track(range(steps), description="detector"):
        images, wanted = batch_of(step, size)
        value = loss(detector(images.contiguous(memory_format=torch.channels_last)), wanted)
        optimiser.zero_grad()
        value.backward()
        torch.nn.utils.clip_grad_norm_(detector.parameters(), 5.0)
        for group in optimiser.param_groups:
            group["lr"] = rate * warm_cosine((step + 1) / steps)
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
