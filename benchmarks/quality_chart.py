"""Plots what a picture costs against what it is worth, by `flashu eval`: `python -m benchmarks.quality_chart`.

The exact model with fewer points is the line that a technique must beat: it is the cheapest way to the same cost.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CONTROL = "exact"
MEASURES: Mapping[str, tuple[str, ...]] = {
    "share of prompts met": ("pictures", "overall", "mean"),
    "PSNR to exact, dB": ("fidelity", "psnr", "mean"),
    "Fréchet distance": ("distances", "frechet"),
}
_GREY, _OWN = "#9aa0a6", "#1a73e8"


@dataclass(frozen=True, slots=True)
class Point:
    """A variant: what it costs, and a measure of it."""

    name: str
    gigaflops: float
    value: float

    @property
    def control(self) -> bool:
        """Whether it is the exact model, with all points or fewer."""
        return self.name == CONTROL or self.name.startswith(f"{CONTROL}, ")


def points(records: Sequence[Mapping[str, Any]], path: Sequence[str]) -> list[Point]:
    """A measure of every variant of several records, the cheapest first; without those that lack it.

    Raises:
        ValueError: the records are of different checkpoints.
    """
    if len({record["digest"] for record in records}) > 1:
        raise ValueError("the results are of different checkpoints; plot one at a time")
    found: dict[str, Point] = {}
    for record in records:
        for name, measured in record["policies"].items():
            value = measured
            for key in path:
                value = value.get(key, {})
            # Fidelity of the exact model to itself says nothing.
            if isinstance(value, (int, float)) and not (path[0] == "fidelity" and name == CONTROL):
                found[name] = Point(name, measured["gigaflops"], value)
    return sorted(found.values(), key=lambda point: point.gigaflops)


def plot(records: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Writes the chart as SVG; the same bytes for the same figures and version of matplotlib."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "quality"
    from matplotlib import pyplot

    shown = {title: found for title, key in MEASURES.items() if (found := points(records, key))}
    figure, axes = pyplot.subplots(1, len(shown), figsize=(5 * len(shown), 3.6), layout="constrained", squeeze=False)
    for axis, (title, found) in zip(axes[0], shown.items(), strict=True):
        controls = [point for point in found if point.control]
        axis.plot([p.gigaflops for p in controls], [p.value for p in controls], "o-", color=_GREY, label="fewer points")
        for point in found:
            if not point.control:
                axis.plot(point.gigaflops, point.value, "o", color=_OWN)
                axis.annotate(point.name, (point.gigaflops, point.value), xytext=(4, 4), textcoords="offset points")
        axis.set_title(title, loc="left", fontsize=10)
        axis.set_xlabel("GFLOP a picture")
        axis.set_xscale("log")
        axis.grid(alpha=0.3)
        axis.legend(frameon=False)
    figure.savefig(path, format="svg", metadata={"Date": None})
    pyplot.close(figure)


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes the chart."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality_chart", description=__doc__)
    parser.add_argument("results", type=Path, nargs="+", help="JSON files that flashu eval wrote, of one checkpoint")
    parser.add_argument("--output", type=Path, required=True, help="the SVG file")
    options = parser.parse_args(arguments)
    plot([json.loads(path.read_text()) for path in options.results], options.output)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
