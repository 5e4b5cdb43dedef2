"""`flashu plan`: what each denoising step of a picture would run, without running it."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from flashu_core.acceleration.flops import describe
from flashu_core.acceleration.plan import make_schedule
from flashu_core.acceleration.policies import POLICIES, find_policy, override
from flashu_core.cli.console import print_table
from flashu_core.cli.options import Acceleration, AsJson, Parameters, parse_overrides
from flashu_core.config import MODELS
from flashu_core.errors import InvalidRequestError


def plan(
    *,
    acceleration: Acceleration = "flashu",
    num_inference_steps: Annotated[
        int | None, typer.Option(help="Points of the time grid; by default the policy's share of the model's.")
    ] = None,
    guidance_scale: Annotated[float, typer.Option(help="Guidance scale.")] = 5.0,
    size: Annotated[str, typer.Option(help=f"Size of the model: {', '.join(sorted(MODELS))}.")] = "1.5b",
    prompt_tokens: Annotated[int, typer.Option(help="Tokens of the prompt, including the two around it.")] = 64,
    parameter: Parameters = None,
    as_json: AsJson = False,
) -> None:
    """Print the schedule of a picture: what each denoising step runs, and its predicted arithmetic."""
    if size not in MODELS:
        raise InvalidRequestError(f"size is {size!r}; use one of: {', '.join(sorted(MODELS))}", parameter="size")
    chosen = override(find_policy(acceleration, POLICIES).generate, parse_overrides(parameter))
    config = MODELS[size]
    num_inference_steps = num_inference_steps or max(round(config.num_inference_steps * chosen.points), 2)
    schedule = make_schedule(chosen.techniques, num_inference_steps=num_inference_steps, guidance_scale=guidance_scale)
    rows = describe(config, chosen, schedule, prompt_tokens=prompt_tokens)
    if as_json:
        print(json.dumps([asdict(row) for row in rows]))
        return
    table = Table("step", "guidance_scale", "backbone", "layers", "head", "TFLOP", box=None)
    for row in rows:
        table.add_row(
            str(row.index), f"{row.guidance_scale:g}", row.backbone, row.layers, row.head, f"{row.flops / 1e12:.3f}"
        )
    total = sum(row.flops for row in rows)
    print_table(Console(), table)
    passes = sum(row.backbone != "not needed" for row in rows)
    computed = sum(row.head == "computed" for row in rows)
    Console().print(
        f"{size}, num_inference_steps {num_inference_steps}: {len(rows)} denoising steps, {passes} backbone passes, "
        f"{computed} head passes, "
        f"{total / 1e12:.1f} TFLOP",
        soft_wrap=True,
    )
