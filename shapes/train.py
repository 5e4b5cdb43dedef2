"""The command that trains the embedded checkpoint, from nothing to a graded folder: `python -m shapes.train --help`.
What was cut off goes on where it stopped when the command is run again. It knows options; the rest is
`training.recipe`'s."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flashu_core.threads import configure_threads


def main(
    folder: Annotated[Path, typer.Option(help="States, curves and sheets go here; run again to resume.")] = Path(
        "runs/land-96"
    ),
    *,
    size: Annotated[int, typer.Option(help="Side of the pictures in pixels, a multiple of 16.")] = 96,
    vae_minutes: Annotated[float, typer.Option(help="Wall time of the autoencoder's training.")] = 20.0,
    minutes: Annotated[float, typer.Option(help="Wall time of the unified model's training, in all.")] = 240.0,
    scenes: Annotated[int, typer.Option(help="Scenes whose latents are kept.")] = 60_000,
    pictures: Annotated[int, typer.Option(help="Captions in a step.")] = 96,
    draws: Annotated[int, typer.Option(help="Noises that each caption is learned from in a step.")] = 2,
    asked: Annotated[int, typer.Option(help="Pictures asked about in a step, or described.")] = 16,
    rate: Annotated[
        float,
        typer.Option(help="Share of the peak learning rates; below 1 to go on from a checkpoint, which 1 unlearns."),
    ] = 1.0,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads that compute on the CPU; OMP_NUM_THREADS, else all by default.")
    ] = None,
    start: Annotated[Path | None, typer.Option(help="A checkpoint a new run starts from.")] = None,
    destination: Annotated[
        Path | None, typer.Option(help="Where the checkpoint goes; none is written without.")
    ] = None,
) -> None:
    """Train the embedded model, or go on training it."""
    configure_threads(threads)  # before torch is loaded
    from shapes.training.recipe import train

    train(
        folder,
        size=size,
        vae_minutes=vae_minutes,
        minutes=minutes,
        scenes=scenes,
        pictures=pictures,
        draws=draws,
        asked=asked,
        rate=rate,
        device=device,
        start=start,
        destination=destination,
    )


if __name__ == "__main__":
    typer.run(main)
