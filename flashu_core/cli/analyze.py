"""`flashu analyze`: figures of what a checkpoint's neurons, layers and image tokens do and where its time goes.

Each figure is a PNG and, under the same name, a JSON with its numbers and with what they were measured on. Knows files
and options; what is measured is the other modules' to know.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from rich.console import Console
from rich.progress import Progress

from flashu_core.acceleration.calibration import CALIBRATION_PROMPT
from flashu_core.analysis import charts
from flashu_core.analysis.components import components, run, timed_requests
from flashu_core.analysis.study import read_prompts, study
from flashu_core.checkpoint.load import load_configured
from flashu_core.cli.samples import read_samples
from flashu_core.config import DtypeName, EngineConfig
from flashu_core.engine.engine import Engine
from flashu_core.errors import ConfigurationError
from flashu_core.machine import describe_machine
from flashu_core.reasons import reason_of
from flashu_core.threads import configure_threads

Found = TypeVar("Found")


def analyze(
    model: Annotated[str | None, typer.Argument(help="A folder or hub id; the embedded model by default.")] = None,
    *,
    output: Annotated[Path, typer.Option("--output", "-o", help="A folder for the figures and their numbers.")] = Path(
        "analysis"
    ),
    prompts: Annotated[
        Path | None, typer.Option(help="Prompts to draw, one per line; that of the calibration by default.")
    ] = None,
    samples: Annotated[
        Path | None, typer.Option(help="Lines of JSON with image and question; by default about what is drawn.")
    ] = None,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Length of an answer at most.")] = 32,
    runs: Annotated[int, typer.Option(min=1, help="How often each prompt and picture is timed.")] = 3,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ...")] = "auto",
    dtype: Annotated[DtypeName, typer.Option(help="Type of the weights.")] = "auto",
) -> None:
    """Draw figures of what a model's neurons, layers and image tokens do, and of where its time goes."""
    console = Console(stderr=True)
    # Whatever is wrong with what was asked for shows before anything long begins.
    charts.new_figure(1, 1)
    texts = [CALIBRATION_PROMPT] if prompts is None else read_prompts(prompts)
    requested = None if samples is None else read_samples(samples)
    _make_folder(output)
    configure_threads()
    with console.status("loading"):
        config = EngineConfig(device=device, dtype=dtype, calibrated=False)
        checkpoint = load_configured(model, config)  # not by the engine: its model is looked into
        engine = Engine(checkpoint, config)
    with Progress(console=console) as progress:
        found = study(engine, checkpoint.model, texts, requested, max_new_tokens=max_new_tokens, progress=progress)
        engine.use(found.calibration)
        engine.warm_up()
        requests = timed_requests(texts, found.pictures, max_new_tokens=max_new_tokens, runs=runs)
        results = list(progress.track(run(engine, requests), total=len(requests), description="timing"))
    about = {
        "model": engine.info.name,
        "digest": engine.info.details["digest"],
        "settings": {
            "prompts": texts,
            "samples": int(found.calibration.provenance["samples"]),
            "data": found.calibration.provenance["data"],
            "points": engine.info.num_inference_steps,
            "guidance": engine.info.guidance_scale,
            "size": list(engine.info.sizes[0]),
            "max_new_tokens": max_new_tokens,
            "runs": runs,
            "dtype": engine.info.dtype,
            "device": engine.info.device,
        },
        "machine": describe_machine(),
    }
    with console.status("drawing the figures"):
        pictures = [
            _keep(output / "specialisation.png", charts.draw_specialisation, found.specialisation, about),
            _keep(output / "similarity-generation.png", charts.draw_similarity, found.generation, about),
            _keep(output / "similarity-understanding.png", charts.draw_similarity, found.answering, about),
            _keep(output / "tokens.png", charts.draw_tokens, found.tokens, about),
            _keep(output / "components.png", charts.draw_components, components(results), about),
        ]
    for picture in pictures:
        console.print(f"{picture}, {picture.with_suffix('.json').name}", soft_wrap=True)


def _keep(picture: Path, draw: Callable[[Found, Path], None], found: Found, about: Mapping[str, Any]) -> Path:
    """Draws a figure and writes its numbers beside it."""
    draw(found, picture)
    record = {"figure": picture.stem, **about, "numbers": _plain(found)}
    picture.with_suffix(".json").write_text(json.dumps(record, allow_nan=False) + "\n")
    return picture


def _plain(value: object) -> object:
    """What JSON can hold of it, with six digits of every number, which is more than a figure shows."""
    if is_dataclass(value) and not isinstance(value, type):
        return _plain(asdict(value))
    if isinstance(value, float):
        # What is not finite would make a file that other readers of JSON refuse.
        return float(f"{value:.6g}") if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(part) for part in value]
    return value


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(
            f"{path} cannot be made: {reason_of(error)}; give another folder with --output"
        ) from error
