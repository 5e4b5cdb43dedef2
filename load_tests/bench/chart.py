"""Plots a run (every request's latency; completed and refused requests per second) and a capacity search (attainment at
each rate)."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from flashu_core.analysis.charts import new_figure
from flashu_core.types import Task
from load_tests.bench.arrivals import Window
from load_tests.bench.capacity_search import Found
from load_tests.bench.record import Outcome, Record
from load_tests.bench.slo import Objective

_LOOKS: Sequence[tuple[Task, str, str]] = (("vqa", "answers", "C0"), ("generate", "pictures", "C1"))
_MARKERS: Sequence[tuple[Outcome, str]] = (("completed", "."), ("refused", "x"), ("failed", "^"), ("broken", "*"))


def plot(
    everything: Sequence[Record], windows: Mapping[str, Window], path: Path, objectives: Sequence[Objective] = ()
) -> None:
    """Plots a dot per request at its scheduled time, on a logarithmic scale, with the objectives' limits as lines;
    below, requests ended per second."""
    figure = new_figure(14, 7)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    for task, name, colour in _LOOKS:
        for outcome, marker in _MARKERS:
            records = [one for one in everything if one.task == task and one.outcome == outcome]
            if records:
                above.scatter(
                    [one.scheduled for one in records],
                    [one.latency for one in records],
                    s=32,
                    marker=marker,
                    color=colour,
                    alpha=0.6,
                    linewidths=0.8 if marker == "x" else 0,
                    label=f"{name}, {outcome}",
                )
        for objective in (one for one in objectives if one.task == task):
            above.axhline(objective.limit_s, color=colour, linewidth=0.8, linestyle="--", label=objective.name)
    for index, (phase, window) in enumerate(windows.items()):
        for axes in (above, below):
            axes.axvspan(window.start, window.end, color="grey", alpha=0.06 + 0.08 * (index % 2), linewidth=0)
        above.text(window.start, 1.01, phase, fontsize="x-small", rotation=25, transform=above.get_xaxis_transform())
    above.set_yscale("log")
    above.set(ylabel="latency from the scheduled time (s)")
    for outcomes, name, colour in ((("completed",), "completed", "C2"), (("refused", "failed", "broken"), "not", "C3")):
        seconds, counts = _each_second([one for one in everything if one.outcome in outcomes])
        below.step(seconds, counts, where="post", color=colour, label=name)
    below.set(xlabel="seconds of the run", ylabel="requests ended per second")
    for axes in (above, below):
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small", loc="center left", bbox_to_anchor=(1.0, 0.5))
    figure.savefig(path)


def plot_search(found: Found, path: Path) -> None:
    """Plots each objective's attainment over the rates that were tried, with its target as a line."""
    figure = new_figure(9, 4.5)
    axes = figure.subplots()
    probes = sorted(found.probes, key=lambda probe: probe.rate)
    names = dict.fromkeys(one["name"] for probe in probes for one in probe.summary["objectives"])
    for index, name in enumerate(names):
        seen = [(probe, one) for probe in probes for one in probe.summary["objectives"] if one["name"] == name]
        rates, shares = [probe.rate for probe, _ in seen], [one["attainment"] for _, one in seen]
        axes.plot(rates, shares, marker="o", color=f"C{index}", label=name)
        axes.axhline(seen[0][1]["percent"] / 100, color=f"C{index}", linewidth=0.8, linestyle="--")
    if found.capacity is not None:
        axes.axvline(found.capacity, color="grey", linewidth=0.8)
    axes.set_xscale("log")
    axes.set(xlabel="requests offered per second", ylabel="share within the limit")
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    figure.savefig(path)


def _each_second(records: Sequence[Record]) -> tuple[list[int], list[int]]:
    counts = Counter(math.floor(record.end) for record in records)
    seconds = list(range(max(counts, default=0) + 2))
    return seconds, [counts[second] for second in seconds]
