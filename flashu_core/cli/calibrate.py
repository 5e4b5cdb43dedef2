"""`flashu calibrate`: which FFN neurons matter to which task, kept beside the checkpoint."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from flashu_core.cli.loading import load_engine
from flashu_core.cli.options import Device, Dtype, ModelArgument, Threads
from flashu_core.config import EngineConfig
from flashu_core.errors import CalibrationError


def calibrate(
    model: ModelArgument = None,
    *,
    samples: Annotated[
        Path | None,
        typer.Option(help="Lines of JSON with image and question; by default about what is generated."),
    ] = None,
    prompt: Annotated[list[str] | None, typer.Option(help="Prompt of a picture to generate; may be repeated.")] = None,
    output: Annotated[Path | None, typer.Option(help="A file; beside the checkpoint by default.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the calibration that is beside the checkpoint.")] = (
        False
    ),
    device: Device = "auto",
    dtype: Dtype = "auto",
    threads: Threads = None,
) -> None:
    """Measure which FFN neurons matter to which task, and keep the result beside the checkpoint."""
    from flashu_core.acceleration.calibration import CALIBRATION_PROMPT
    from flashu_core.checkpoint.layouts import list_calibration
    from flashu_core.cli.samples import read_samples

    console = Console(stderr=True)
    config = EngineConfig(device=device, dtype=dtype, calibrated=False)
    requested = None if samples is None else read_samples(samples)
    engine = load_engine(model, config, threads)
    if output is None and not force:
        for path in engine.calibration_files:
            if path.exists():
                raise CalibrationError(
                    f"{path} is there already; replace it with --force, or name a file with --output"
                )
    begun = time.monotonic()
    with console.status("calibrating"):
        found = engine.calibrate(prompt or (CALIBRATION_PROMPT,), requested)
    places = engine.calibration_files if output is None else [output]
    place = found.keep(places)
    if place is None:
        raise CalibrationError(f"none of {', '.join(map(str, places))} can be written; give one with --output")
    if output is None:
        list_calibration(place)
    seconds = time.monotonic() - begun
    console.print(f"measured in {seconds:.1f} s, kept in {place}", soft_wrap=True, markup=False)
