"""Draws a run over time: every request's latency, and what was completed and refused in each second."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from flashu_core.analysis.charts import new_figure
from flashu_core.types import Task
from load_tests.phases import Found
from load_tests.record import Outcome, Record

_LOOKS: Sequence[tuple[Task, str, str]] = (("vqa", "answers", "C0"), ("generate", "pictures", "C1"))
_MARKERS: Sequence[tuple[Outcome, str]] = (("completed", "."), ("refused", "x"), ("failed", "^"), ("broken", "*"))


def draw(found: Found, path: Path) -> None:
    """A dot for each request at its scheduled second, on a logarithmic scale; below, what ended in each second."""
    figure = new_figure(14, 7)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    for task, name, colour in _LOOKS:
        for outcome, marker in _MARKERS:
            records = [one for one in found.records if one.task == task and one.outcome == outcome]
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
    for index, (phase, window) in enumerate(found.windows.items()):
        for axes in (above, below):
            axes.axvspan(window.start, window.end, color="grey", alpha=0.06 + 0.08 * (index % 2), linewidth=0)
        above.text(window.start, 1.01, phase, fontsize="x-small", rotation=25, transform=above.get_xaxis_transform())
    above.set_yscale("log")
    above.set(ylabel="latency from the scheduled time (s)")
    for outcomes, name, colour in ((("completed",), "completed", "C2"), (("refused", "failed", "broken"), "not", "C3")):
        seconds, counts = _each_second([one for one in found.records if one.outcome in outcomes])
        below.step(seconds, counts, where="post", color=colour, label=name)
    below.set(xlabel="seconds of the run", ylabel="requests ended a second")
    for axes in (above, below):
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small", loc="center left", bbox_to_anchor=(1.0, 0.5))
    figure.savefig(path)


def _each_second(records: Sequence[Record]) -> tuple[list[int], list[int]]:
    counts = Counter(math.floor(record.end) for record in records)
    seconds = list(range(max(counts, default=0) + 2))
    return seconds, [counts[second] for second in seconds]
