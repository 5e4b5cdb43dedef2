"""Makes README's chart from committed results: `python -m benchmarks.readme_chart`.

Counted FLOPs of one image beside its time on a GPU. The saving of the FlashU authors' own code is the paper's figure
(arXiv 2603.15271).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from load_tests.results import RESULTS

CHART = Path(__file__).parents[1] / "docs" / "images" / "one-picture.svg"
PAPER_FLOP_RATIO = 1.87
_GREY, _OWN = "#9aa0a6", "#1a73e8"


def bars(results: Path = RESULTS) -> dict[str, dict[str, float]]:
    """TFLOP by implementation, and measured seconds.

    Raises:
        OSError: a result is missing.
    """

    def read(name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((results / f"{name}.json").read_text())
        return found

    exact, flashu, gpu = read("cost-exact-1.5b"), read("cost-flashu-1.5b"), read("gpu-1.5b-flashu")["generation"]
    original = exact["reference"]["total"] / 1e12
    return {
        "TFLOP": {
            "Show-o2, original": original,
            "FlashU, original": original / PAPER_FLOP_RATIO,
            "exact": exact["generation"]["total"] / 1e12,
            "flashu": flashu["generation"]["total"] / 1e12,
        },
        "seconds": {
            "Show-o2's loop": gpu["reference_ms"] / 1000,
            "exact": gpu["exact_ms"] / 1000,
            "flashu": gpu["total_ms"] / 1000,
        },
    }


def generate(path: Path, found: dict[str, dict[str, float]], gpu: str) -> None:
    """Writes the chart; the same bytes for the same figures and version of matplotlib."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "one-picture"
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(9, 2.4), layout="constrained")
    titles = {"TFLOP": "One picture: TFLOP", "seconds": f"One picture: seconds on an {gpu}"}
    for axis, (unit, values) in zip(axes, found.items(), strict=True):
        names = list(values)[::-1]
        colours = [_OWN if name in ("exact", "flashu") else _GREY for name in names]
        generated = axis.barh(names, [values[name] for name in names], color=colours)
        axis.bar_label(generated, fmt="%.0f" if unit == "TFLOP" else "%.2f", padding=3)
        axis.set_title(titles[unit], loc="left", fontsize=10)
        axis.spines[["top", "right", "bottom"]].set_visible(False)
        axis.set_xticks([])
    figure.savefig(path, format="svg", metadata={"Date": None})
    pyplot.close(figure)


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes the chart."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.readme_chart", description=__doc__)
    parser.add_argument("--output", type=Path, default=CHART)
    options = parser.parse_args(arguments)
    gpu = json.loads((RESULTS / "gpu-1.5b-flashu.json").read_text())["machine"]["gpu"].removeprefix("NVIDIA ")
    generate(options.output, bars(), gpu)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
