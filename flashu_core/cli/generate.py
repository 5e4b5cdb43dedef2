"""`flashu generate`: pictures of a prompt, as files."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated

import typer
from PIL import Image
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

from flashu_core.acceleration.policies import POLICIES, find_policy, override
from flashu_core.cli.loading import load_calibrated_engine, print_timings
from flashu_core.cli.options import (
    Acceleration,
    AsJson,
    Attention,
    Device,
    Dtype,
    Model,
    Parameters,
    Seed,
    Threads,
    parse_overrides,
    parse_size,
)
from flashu_core.config import EngineConfig
from flashu_core.errors import InvalidRequestError
from flashu_core.types import Event, GenerateRequest, Progress

_FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}


def generate(
    prompt: Annotated[str, typer.Argument(help="Prompt of the picture.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="PNG, JPEG or WebP file, by its ending.")] = Path(
        "out.png"
    ),
    *,
    negative_prompt: Annotated[str, typer.Option(help="Prompt of what to avoid.")] = "",
    num_images: Annotated[
        int,
        typer.Option("--num-images", "-n", help="Number of pictures; more than one get -1, -2, ... before the ending."),
    ] = 1,
    size: Annotated[str | None, typer.Option(help="WIDTHxHEIGHT, one of the model's sizes.")] = None,
    num_inference_steps: Annotated[
        int | None, typer.Option(help="Points of the time grid, one more than denoising steps.")
    ] = None,
    guidance_scale: Annotated[float | None, typer.Option(help="Guidance scale.")] = None,
    seed: Seed = None,
    acceleration: Acceleration = "flashu",
    parameter: Parameters = None,
    model: Model = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    attention: Attention = "sdpa",
    threads: Threads = None,
    as_json: AsJson = False,
) -> None:
    """Generate a picture from a prompt."""
    paths = _outputs(output, num_images)
    width, height = parse_size(size)
    overrides = parse_overrides(parameter)
    override(find_policy(acceleration, POLICIES).generate, overrides)
    request = GenerateRequest(
        prompt=prompt,
        negative_prompt=negative_prompt,
        num_images=num_images,
        width=width,
        height=height,
        num_inference_steps=num_inference_steps,
        guidance_scale=guidance_scale,
        seed=seed,
        acceleration=acceleration,
        overrides=overrides,
    )
    engine = load_calibrated_engine(
        model, EngineConfig(device=device, dtype=dtype, attention=attention), acceleration, threads
    )
    columns = (TextColumn("generating"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    bar = Bar(*columns, console=Console(stderr=True))
    task = bar.add_task("generating", total=None)

    def show(event: Event) -> None:
        if isinstance(event, Progress):
            bar.start()  # not before the request is accepted
            bar.update(task, completed=event.step, total=event.of)

    try:
        result = engine.generate(request, show)
    finally:
        if bar.live.is_started:
            bar.stop()
    for path, image in zip(paths, result.images, strict=True):
        Image.fromarray(image).save(path, format=_FORMATS[path.suffix.lower()])
    if as_json:
        record = {"files": [str(path) for path in paths], "seeds": result.seeds, "timings_ms": dict(result.timings)}
        print(json.dumps({**record, "schedule": dict(result.schedule)}))
        return
    print_timings(result.timings, result.schedule)
    for path, generated in zip(paths, result.seeds, strict=True):
        Console(stderr=True).print(f"{path} (seed {generated})", soft_wrap=True, markup=False)


def _outputs(output: Path, count: int) -> list[Path]:
    """Where so many pictures go; what keeps them from it shows before anything is loaded."""
    if output.suffix.lower() not in _FORMATS:
        known = ", ".join(_FORMATS)
        raise InvalidRequestError(f"output ends with {output.suffix!r}; PNG, JPEG and WebP end with one of {known}")
    if not output.parent.is_dir():
        raise InvalidRequestError(f"there is no folder {output.parent} for the output; make it first")
    paths = [output if count == 1 else output.with_stem(f"{output.stem}-{index + 1}") for index in range(count)]
    for path in paths:
        if path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
            raise InvalidRequestError(f"output {path} cannot be written; name another file")
    return paths
