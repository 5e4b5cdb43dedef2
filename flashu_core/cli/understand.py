"""`flashu understand`: an answer to a question about a picture."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

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
)
from flashu_core.config import EngineConfig
from flashu_core.errors import InvalidRequestError
from flashu_core.images.decode import read_picture
from flashu_core.reasons import reason_of
from flashu_core.types import Event, Pixels, Text, UnderstandRequest


def understand(
    image: Annotated[Path, typer.Argument(help="A picture file.")],
    question: Annotated[str, typer.Argument(help="Question about it.")],
    *,
    max_new_tokens: Annotated[int, typer.Option(help="Maximum length of the answer.")] = 128,
    temperature: Annotated[float, typer.Option(help="Sampling temperature; 0 is greedy decoding.")] = 0.0,
    top_p: Annotated[float, typer.Option(help="Samples from the likeliest tokens of this probability.")] = 1.0,
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
    """Answer a question about a picture."""
    overrides = parse_overrides(parameter)
    override(find_policy(acceleration, POLICIES).vqa, overrides)
    request = UnderstandRequest(
        question=question,
        image=_read_picture(image),
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        top_p=top_p,
        seed=seed,
        acceleration=acceleration,
        overrides=overrides,
    )
    engine = load_calibrated_engine(
        model, EngineConfig(device=device, dtype=dtype, attention=attention), acceleration, threads
    )

    def show(event: Event) -> None:
        if isinstance(event, Text) and not as_json:
            print(event.text, end="", flush=True)

    result = engine.understand(request, show)
    if as_json:
        record = {"answer": result.answer, "finish_reason": result.finish_reason, "timings_ms": dict(result.timings)}
        print(json.dumps({**record, "schedule": dict(result.schedule)}))
        return
    print()
    print_timings(result.timings, result.schedule)


def _read_picture(path: Path) -> Pixels:
    try:
        return read_picture(path)
    except (OSError, ValueError) as error:
        raise InvalidRequestError(
            f"{path} cannot be read as a picture: {reason_of(error)}", parameter="image"
        ) from error
