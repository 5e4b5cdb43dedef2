"""Plots the dashboard's rows from a running Prometheus, with matplotlib instead of Grafana:
`python -m deploy.grafana.pictures --prometheus http://localhost:9090 --minutes 60`.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

from deploy.grafana.panels import Panel, Row, filled_in
from deploy.grafana.rows import ROWS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

IMAGES = Path(__file__).parents[2] / "docs" / "images"
_MAX_POINTS = 300
_UNITS = {"s": "seconds", "reqps": "requests a second", "ops": "a second", "percentunit": "%", "bytes": "MiB"}
_SCALES = {"percentunit": 100.0, "bytes": 2.0**-20}


@dataclass(frozen=True, kw_only=True, slots=True)
class Span:
    """Start and end in seconds since the epoch, and the window of rates in seconds."""

    start: float
    end: float
    rate_s: int

    @property
    def step(self) -> float:
        """Seconds between points."""
        return max(1.0, math.ceil((self.end - self.start) / _MAX_POINTS))

    @property
    def times(self) -> list[float]:
        """The points, in seconds since the epoch."""
        return [self.start + index * self.step for index in range(int((self.end - self.start) / self.step) + 1)]


Line = tuple[str, list[float]]  # legend, and a value per point, NaN where there is none


def lines(client: httpx.Client, panel: Panel, span: Span) -> list[Line]:
    """A panel's lines, from the queries that Grafana would send.

    Raises:
        RuntimeError: Prometheus rejected a query.
    """
    found: list[Line] = []
    for query in panel.queries:
        expr = filled_in(query.expr, rate_s=span.rate_s)
        requested = {"query": expr, "start": f"{span.start}", "end": f"{span.times[-1]}", "step": f"{span.step}"}
        answer: dict[str, Any] = client.post("/api/v1/query_range", data=requested).json()
        if answer["status"] != "success":
            raise RuntimeError(f"Prometheus rejects {expr}: {answer['error']}")
        for series in answer["data"]["result"]:
            values = {round((at - span.start) / span.step): float(value) for at, value in series["values"]}
            found.append(
                (_named(query.legend, series["metric"]), [values.get(i, math.nan) for i in range(len(span.times))])
            )
    return sorted(found, key=lambda line: line[0])


def plot(client: httpx.Client, span: Span, folder: Path, rows: Sequence[Row] = ROWS) -> list[Path]:
    """Writes `dashboard-NAME.png` for each row."""
    from matplotlib import figure

    paths = []
    for row in rows:
        columns = row.columns
        height = -(-len(row.panels) // columns)
        sheet = figure.Figure(figsize=(4.6 * columns, 2.9 * height + 0.4), dpi=80, layout="constrained")
        sheet.suptitle(row.title, fontweight="bold")
        grid = sheet.subplots(height, columns, squeeze=False)
        for panel, axes in zip(row.panels, grid.flat, strict=True):
            _plot_panel(axes, panel, lines(client, panel, span), span)
        path = folder / f"dashboard-{row.name}.png"
        sheet.savefig(path)
        paths.append(path)
    return paths


def _plot_panel(axes: Axes, panel: Panel, found: Sequence[Line], span: Span) -> None:
    scale = _SCALES.get(panel.unit, 1.0)
    unit, length = ("minutes", 60) if span.end - span.start > 300 else ("seconds", 1)
    times = [(at - span.start) / length for at in span.times]
    if panel.stacked and found:
        values = [[0.0 if math.isnan(value) else value * scale for value in line] for _, line in found]
        axes.stackplot(times, values, labels=[name for name, _ in found], alpha=0.7)
    else:
        for name, line in found:
            axes.plot(times, [value * scale for value in line], label=name, linewidth=1.2)
    top = max((value * scale for _, line in found for value in line if not math.isnan(value)), default=0.0)
    # A threshold far above all values would flatten the lines.
    if panel.limit is not None and panel.limit * scale <= 4 * top:
        axes.axhline(panel.limit * scale, color="red", linestyle="--", linewidth=0.9)
    axes.set_title(panel.title, fontsize=9)
    axes.set_xlabel(unit, fontsize=7)
    axes.set_ylabel(_UNITS.get(panel.unit, ""), fontsize=7)
    axes.set_xlim(0, times[-1])
    # Space above the lines for the legend.
    axes.set_ylim(0, 1.35 * axes.get_ylim()[1] if top else 1)
    axes.tick_params(labelsize=7)
    axes.grid(alpha=0.25)
    if found:
        axes.legend(fontsize=6, loc="upper left", framealpha=0.6, ncols=-(-len(found) // 3))
    else:
        axes.text(0.5, 0.5, "no data", transform=axes.transAxes, ha="center", color="grey")


def _named(legend: str, labels: dict[str, str]) -> str:
    for name, value in labels.items():
        legend = legend.replace(f"{{{{{name}}}}}", value)
    return legend


def main() -> None:
    """Plots the rows over the last minutes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prometheus", default="http://localhost:9090", help="its URL")
    parser.add_argument("--minutes", type=float, default=60.0, help="how far back")
    parser.add_argument("--rate-seconds", type=int, default=60, help="window of rates")
    parser.add_argument("--to", type=Path, default=IMAGES, help="output folder")
    given = parser.parse_args()
    now = time.time()
    span = Span(start=now - 60 * given.minutes, end=now, rate_s=given.rate_seconds)
    with httpx.Client(base_url=given.prometheus, timeout=30) as client:
        for path in plot(client, span, given.to):
            print(f"{path}: {path.stat().st_size // 1024} KiB")


if __name__ == "__main__":
    main()
