"""The folder where benchmarks and load tests keep their results, and how one is written."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parents[1] / "benchmarks" / "results"


def save(name: str, content: Mapping[str, Any], folder: Path = RESULTS) -> Path:
    """Writes `NAME.json` and returns its path, replacing an older result of that name.

    Raises:
        ValueError: `name` is empty or has a folder in it.
    """
    if not name or Path(name).name != name:
        raise ValueError(f"{name!r} is not the name of a result; give a plain file name without its ending")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    path.write_text(json.dumps(content, indent=2) + "\n")
    return path
