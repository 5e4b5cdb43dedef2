"""The result of a run, as one JSON object and as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from flashu_core.cli.console import print_table
from load_tests.acceptance.phases import Found
from load_tests.acceptance.summary import front_end, phase_summary, step
from load_tests.acceptance.target import Target, Verdict

HEADER = ("promise", "target", "measured", "verdict", "of")
_COLOURS: Mapping[Verdict, str] = {"met": "green", "missed": "red", "nothing to judge": "yellow"}


def summarise(found: Found) -> dict[str, Any]:
    """All figures of a run, without verdicts; times in seconds."""
    capacity = found.capacity
    slow = found.slow
    return {
        "capacity_per_s": {**capacity.alone, "mix": capacity.mix, "work": capacity.work},
        "step_s": step(found, "mixed"),
        "front_end_s": front_end(found),
        "phases": {phase: phase_summary(found, phase) for phase in found.windows},
        **({"slow_clients": {"cut": slow.cut, "longest_s": slow.longest_s, "readers": slow.readers}} if slow else {}),
    }


def show(summary: Mapping[str, Any], targets: Sequence[Target], console: Console) -> None:
    """Prints the phases, then the promises."""
    print_table(console, _phases(summary))
    capacity = summary["capacity_per_s"]
    console.print(
        f"C: {capacity['generate']:.2f} pictures, {capacity['vqa']:.2f} answers, {capacity['mix']:.2f} of the mix per "
        f"second; front end at idle, median: an answer {_milliseconds(summary['front_end_s']['vqa']['p50'])} ms, a "
        f"picture {_milliseconds(summary['front_end_s']['generate']['p50'])} ms"
    )
    print_table(console, targets_table(targets))


def _phases(summary: Mapping[str, Any]) -> Table:
    table = Table(title="phases; milliseconds, median and p99")
    for name in (
        "phase",
        "offered/s",
        "done/s",
        "of C",
        "refused",
        "answers",
        "in queue",
        "pictures",
        "in queue",
        "client late",
    ):
        table.add_column(name, justify="left" if name == "phase" else "right")
    for name, phase in summary["phases"].items():
        cells = []
        for task in ("vqa", "generate"):
            found = phase["tasks"][task]
            cells += [_pair(found["latency_s"]), _pair(found["where_s"]["queue"])]
        table.add_row(
            name,
            f"{phase['offered_per_s']:.1f}",
            f"{phase['completed_per_s']:.1f}",
            f"{phase['share_of_capacity']:.2f}",
            str(phase["refused"]),
            *cells,
            _pair(phase["client"]["late_s"]),
        )
    return table


def targets_table(targets: Sequence[Target]) -> Table:
    """The promises and their verdicts."""
    table = Table(title="promises")
    for name in HEADER:
        table.add_column(name)
    for target in targets:
        name, limit, measured, verdict, note = row(target)
        table.add_row(name, limit, measured, f"[{_COLOURS[target.verdict]}]{verdict}[/]", note)
    return table


def row(target: Target) -> tuple[str, str, str, str, str]:
    """The cells of a promise, under `HEADER`."""
    sign = ">=" if target.at_least else "<="
    return (
        target.name,
        "" if target.limit is None else f"{sign} {_amount(target.limit, target.unit)}",
        "nothing" if target.measured is None else _amount(target.measured, target.unit),
        target.verdict,
        target.note,
    )


def _amount(value: float, unit: str) -> str:
    if unit == "s":
        return f"{_milliseconds(value)} ms" if value < 1 else f"{value:.2f} s"
    return f"{value:.2f} {unit}" if unit else f"{value:g}"


def _milliseconds(seconds: float | None) -> str:
    return "none" if seconds is None else f"{seconds * 1000:.1f}" if seconds < 0.0995 else f"{seconds * 1000:.0f}"


def _pair(found: Mapping[str, float | None]) -> str:
    return "" if found["p50"] is None else f"{_milliseconds(found['p50'])} / {_milliseconds(found['p99'])}"
