"""Prints the figures of a benchmark as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from flashu_core.cli.console import print_table
from load_tests.bench.capacity_search import Found
from load_tests.bench.hashes import Compared

_SHOWN = 10  # differences


def show_serving(summary: Mapping[str, Any], warnings: Sequence[str], console: Console) -> None:
    """Prints latencies by task, objectives and outcomes."""
    print_table(console, _latencies(summary))
    if summary["objectives"]:
        print_table(console, _objectives(summary["objectives"]))
    console.print(
        f"{summary['requests']} requests in {summary['seconds']:.1f} s: {summary['offered_per_s']:.2f} offered, "
        f"{summary['completed_per_s']:.2f} completed, {summary['goodput_per_s']:.2f} good per second"
    )
    console.print(
        f"{summary['completed']} completed; {summary['refused']} refused "
        f"({summary['refused_without_retry_after']} of them without Retry-After); {summary['failed']} failed; "
        f"{summary['broken']} broken"
    )
    for name in ("statuses", "failures", "errors", "rejected"):
        counts = summary[name]
        if counts and set(counts) != {"200"}:
            console.print(f"  {name}: " + ", ".join(f"{what} {count:g}" for what, count in sorted(counts.items())))
    client = summary["client"]
    why = ", because of the concurrency limit" if client["limited"] else ""
    console.print(
        f"client: {client['processor']:.0%} of a core, at most {client['max_concurrent']} concurrent requests, "
        f"sent {_seconds(client['late_s']['p99'])} late at p99{why}",
        style="dim",
    )
    for warning in warnings:
        console.print(f"warning: {warning}", style="yellow")


def show_search(found: Found, console: Console) -> None:
    """Prints every probe and the capacity found."""
    table = Table(title="probes")
    for name in ("rate/s", "requests", "completed", "refused", "other", "good/s", "objectives", "verdict"):
        table.add_column(name, justify="left" if name in ("objectives", "verdict") else "right")
    for probe in found.probes:
        summary = probe.summary
        shares = "  ".join(
            f"{one['name']} {_seconds(one['measured_s'])}, {_share(one['attainment'])}" for one in summary["objectives"]
        )
        ended = ", ended early" if summary["client"]["ended_early"] else ""
        table.add_row(
            f"{probe.rate:.3g}",
            str(summary["requests"]),
            str(summary["completed"]),
            str(summary["refused"]),
            str(summary["failed"] + summary["broken"]),
            f"{summary['goodput_per_s']:.2f}",
            shares,
            ("[green]met[/]" if probe.met else "[red]missed[/]") + ended,
        )
    print_table(console, table)
    if found.capacity is None:
        console.print("no tried rate meets the objectives", style="red")
    elif found.missed is None:
        console.print(
            f"capacity: at least {found.capacity:.3g} requests per second; no tried rate misses the objectives"
        )
    else:
        console.print(f"capacity: {found.capacity:.3g} requests per second; {found.missed:.3g} misses the objectives")


def show_hashes(compared: Compared, console: Console) -> None:
    """Prints the verdict of a comparison and the first differences."""
    colour = "red" if compared.failed else "green" if compared.verdict in ("same", "written") else "yellow"
    console.print(
        f"results: [{colour}]{compared.verdict}[/]; {compared.compared} compared, {len(compared.differences)} differ, "
        f"{compared.only_now} only here, {compared.only_before} only in the file"
    )
    for one in compared.differences[:_SHOWN]:
        size = "" if one.largest is None else f": at most {one.largest} of 255, {one.mean:.3f} on average"
        said = "" if one.answers is None else f": {one.answers[0]!r}, now {one.answers[1]!r}"
        console.print(f"  {one.key}: {one.what}{size}{said}", markup=False)
    if len(compared.differences) > _SHOWN:
        console.print(f"  and {len(compared.differences) - _SHOWN} more; --output has all")
    if compared.verdict == "differs in a batch":
        console.print("  requests that share a batch agree only within rounding; use --replay alone for exact results")


def _latencies(summary: Mapping[str, Any]) -> Table:
    streamed = any(one["first_event_s"]["p50"] is not None for one in summary["tasks"].values())
    kinds = [("latency_s", "latency"), ("first_byte_s", "first byte")]
    kinds += [("first_event_s", "first event")] if streamed else []
    table = Table(title="seconds from the scheduled time, of completed requests")
    for name in ("task", "", "completed", "p50", "p90", "p95", "p99", "max"):
        table.add_column(name, justify="left" if name in ("task", "") else "right")
    for task, found in summary["tasks"].items():
        for key, name in kinds:
            values = [_seconds(found[key][column]) for column in ("p50", "p90", "p95", "p99", "max")]
            first = (task, name, str(found["completed"])) if key == "latency_s" else ("", name, "")
            table.add_row(*first, *values)
    return table


def _objectives(objectives: Sequence[Mapping[str, Any]]) -> Table:
    table = Table(title="objectives, of all requests")
    for name in ("objective", "limit", "measured", "within limit", "requests", "verdict"):
        table.add_column(name)
    for one in objectives:
        table.add_row(
            one["name"],
            _seconds(one["limit_s"]),
            _seconds(one["measured_s"]),
            _share(one["attainment"]),
            str(one["requests"]),
            "[green]met[/]" if one["met"] else "[red]missed[/]",
        )
    return table


def _share(value: float | None) -> str:
    """In percent, rounded down."""
    return "none" if value is None else f"{int(value * 10000) / 100:.2f} %"


def _seconds(value: float | None) -> str:
    return "none" if value is None else f"{value:.3f} s" if value < 10 else f"{value:.1f} s"
