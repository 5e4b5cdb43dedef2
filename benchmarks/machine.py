"""Where a result was measured, and where results are kept.

It knows the folder of results and how one is written; what a machine is comes from `flashu_core.machine`, and what was
measured from the harness that calls it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from flashu_core.machine import describe_machine

RESULTS = Path(__file__).parent / "results"


def describe(device: torch.device | str = "cpu") -> dict[str, str | int]:
    """Commit, versions, processor, accelerator, threads and date, and the device that did the work."""
    device = torch.device(device)
    machine = {**describe_machine(), "device": str(device), "cores": os.cpu_count() or 0}
    if device.type == "cuda":
        machine["gpu"] = torch.cuda.get_device_name(device)
        machine["gpu_memory_bytes"] = torch.cuda.get_device_properties(device).total_memory
    return machine


def save(name: str, content: Mapping[str, Any], folder: Path = RESULTS) -> Path:
    """Writes `NAME.json` and returns its path; an older result of that name is replaced."""
    if not name or Path(name).name != name:
        raise ValueError(f"{name!r} is no name for a result; give a plain file name without its ending")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    path.write_text(json.dumps(content, indent=2) + "\n")
    return path
