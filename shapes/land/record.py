"""What was measured of variants: the JSON file, and the table of its means."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from flashu_core import Engine
from flashu_core.machine import describe_machine


def write(output: Path, engine: Engine, measured: dict[str, dict[str, Any]], *, seed: int, prompts: int) -> None:
    """Writes what was measured so far."""
    record = {
        "model": engine.info.name,
        "digest": engine.info.details["digest"],
        "machine": describe_machine(),
        "dtype": engine.info.dtype,
        "seed": seed,
        "prompts": prompts,
        "points": engine.info.num_inference_steps,
        "guidance": engine.info.guidance_scale,
        "policies": measured,
    }
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(record, indent=1) + "\n")


def table(measured: dict[str, dict[str, Any]]) -> Table:
    """One row for each variant; what was not measured is left empty."""
    columns = {
        "GFLOP": ("gigaflops",),
        "PSNR": ("fidelity", "psnr", "mean"),
        "SSIM": ("fidelity", "ssim", "mean"),
        "latents": ("fidelity", "latent_error", "mean"),
        "pictures": ("pictures", "overall", "mean"),
        "words": ("answers", "words", "mean"),
        "sentences": ("answers", "sentences", "mean"),
        "Fréchet": ("distances", "frechet"),
        "kernel": ("distances", "kernel"),
    }
    drawn = Table("variant", *columns)
    for name, own in measured.items():
        drawn.add_row(name, *(_at(own, path) for path in columns.values()))
    return drawn


def _at(data: Any, path: Sequence[str]) -> str:
    for name in path:
        if name not in data:
            return ""
        data = data[name]
    return f"{data:.4g}"
