"""Counts of outcomes, and a breakdown of completed requests' latency."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from load_tests.bench.record import Record
from load_tests.bench.statistics import quantile, quantiles


def outcomes(records: Sequence[Record]) -> dict[str, Any]:
    """Counts by outcome, status, exchange error and failure code."""
    counts = Counter(record.outcome for record in records)
    return {
        **{name: counts[name] for name in ("completed", "refused", "failed", "broken")},
        "statuses": dict(Counter(str(record.status) for record in records if record.status is not None)),
        "errors": dict(Counter(record.error for record in records if record.error is not None)),
        "failures": dict(Counter(record.failure for record in records if record.failure is not None)),
    }


def task_summary(records: Sequence[Record]) -> dict[str, Any]:
    """One task's latency and its parts, in seconds.

    `client` is how late the client sent; `queue` and `engine` are the server's figures (before the engine; from the
    first unit of work to the last); `rest` is everything else: connection, parsing, image decoding and encoding, the
    way to the worker and back, waiting there for the first unit.
    """
    completed = [record for record in records if record.outcome == "completed"]
    parts: dict[str, list[float]] = {"client": [], "queue": [], "engine": [], "rest": []}
    for record in completed:
        queue = record.timings_ms.get("queue", 0.0) / 1000
        engine = record.timings_ms.get("total", 0.0) / 1000
        parts["client"].append(record.late)
        parts["queue"].append(queue)
        parts["engine"].append(engine)
        parts["rest"].append(record.latency - record.late - queue - engine)
    return {
        "requests": len(records),
        "completed": len(completed),
        "latency_s": quantiles([record.latency for record in completed]),
        "where_s": {
            name: {"p50": quantile(seconds, 0.5), "p99": quantile(seconds, 0.99)} for name, seconds in parts.items()
        },
    }
