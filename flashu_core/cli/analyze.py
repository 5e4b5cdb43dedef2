"""`flashu analyze`: figures of what a checkpoint's neurons, layers and image tokens do and where its time goes.

Each figure is a PNG, and a JSON file of the same name with its numbers and what they were measured on.
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
        Path | None, typer.Option(help="A file of prompts, one per line; that of the calibration by default.")
    ] = None,
    samples: Annotated[
        Path | None,
        typer.Option(help="Lines of JSON with image and question; by default about the generated pictures."),
    ] = None,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Maximum length of an answer.")] = 32,
    runs: Annotated[int, typer.Option(min=1, help="How often each prompt and picture is timed.")] = 3,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ...")] = "auto",
    dtype: Annotated[DtypeName, typer.Option(help="Type of the weights.")] = "auto",
) -> None:
    """Plot what a model's neurons, layers and image tokens do, and where its time goes."""
    console = Console(stderr=True)
    # Errors in the options show before any long work starts.
    charts.new_figure(1, 1)
    texts = [CALIBRATION_PROMPT] if prompts is None else read_prompts(prompts)
    requested = None if samples is None else read_samples(samples)
    _make_folder(output)
    configure_threads()
    with console.status("loading"):
        config = EngineConfig(device=device, dtype=dtype, calibrated=False)
        checkpoint = load_configured(model, config)  # not by the engine: the study needs the model
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
    with console.status("plotting"):
        pictures = [
            _keep(output / "specialisation.png", charts.plot_specialisation, found.specialisation, about),
            _keep(output / "similarity-generation.png", charts.plot_similarity, found.generation, about),
            _keep(output / "similarity-understanding.png", charts.plot_similarity, found.answering, about),
            _keep(output / "tokens.png", charts.plot_tokens, found.tokens, about),
            _keep(output / "components.png", charts.plot_components, components(results), about),
        ]
    for picture in pictures:
        console.print(f"{picture}, {picture.with_suffix('.json').name}", soft_wrap=True)


def _keep(picture: Path, plot: Callable[[Found, Path], None], found: Found, about: Mapping[str, Any]) -> Path:
    """Plots a figure and writes its numbers beside it."""
    plot(found, picture)
    record = {"figure": picture.stem, **about, "numbers": _plain(found)}
    picture.with_suffix(".json").write_text(json.dumps(record, allow_nan=False) + "\n")
    return picture


def _plain(value: object) -> object:
    """The value as JSON can represent it, numbers with six digits, more than a figure shows."""
    if is_dataclass(value) and not isinstance(value, type):
        return _plain(asdict(value))
    if isinstance(value, float):
        # JSON has no NaN or infinity; other readers would refuse the file.
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
            f"{path} cannot be created: {reason_of(error)}; give another folder with --output"
        ) from error
