"""Summary of a run's records: outcomes, latency and its parts for each phase."""

from __future__ import annotations

from typing import Any

from flashu_core.types import Task
from load_tests.acceptance.phases import Found
from load_tests.acceptance.plan import TASKS, recovery
from load_tests.bench.outcomes import outcomes, task_summary
from load_tests.bench.record import Record
from load_tests.bench.scrape import STEP, grown, histogram_quantile
from load_tests.bench.statistics import quantile, quantiles, throughput

STEPS = 2  # denoising steps that generation may add to the p99 of answers
_NORMAL = 2.0  # times slower still counts as normal after an overload


def phase_summary(found: Found, phase: str) -> dict[str, Any]:
    """Figures of a phase: requests scheduled in its window, throughput of the work done in it."""
    records, window = found.of(phase), found.windows[phase]
    completed = [record for record in found.records if record.outcome == "completed"]
    refused = [record for record in records if record.outcome == "refused"]
    before, after = found.scraped.get(phase, ({}, {}))
    return {
        "window_s": [window.start, window.end],
        "requests": len(records),
        "offered_per_s": len(records) / window.seconds,
        **outcomes(records),
        "completed_per_s": throughput([record.worked for record in completed], window),
        "share_of_capacity": found.capacity.share(found.records, window),
        "refusal_s": quantiles([record.latency for record in refused]),
        "refused_without_retry_after": sum(record.retry_after is None for record in refused),
        "tasks": {task: task_summary([one for one in records if one.task == task]) for task in TASKS},
        "rejected": grown(before, after, "flashu_rejected_total"),
        "front_end_cpu_s": grown(before, after, "process_cpu_seconds_total").get("all"),
        "client": {"late_s": quantiles([record.late for record in records]), "processor": found.busy[phase]},
    }


def step(found: Found, phase: str) -> dict[str, Any]:
    """Seconds of a batch's denoising step in a phase: by the server's histogram if there is one, and by the timings of
    its responses, each of which gives the mean of its own steps."""
    before, after = found.scraped[phase]
    of_metric = {f"p{share:.0%}"[:-1]: histogram_quantile(before, after, STEP, share) for share in (0.5, 0.99)}
    seconds = [one for record in found.of(phase, "generate") if (one := record.step_s) is not None]
    of_answers = {"p50": quantile(seconds, 0.5), "p99": quantile(seconds, 0.99)}
    has_metric = of_metric["p99"] is not None
    return {
        "source": "metric" if has_metric else "answers",
        **(of_metric if has_metric else of_answers),
        "of_metric": of_metric,
        "of_answers": of_answers,
    }


def front_end(found: Found) -> dict[str, Any]:
    """Seconds at idle outside the engine, by task: the client's latency less the engine's total."""
    return {
        task: quantiles(
            [
                record.latency - record.timings_ms["total"] / 1000
                for record in found.of("idle", task)
                if record.outcome == "completed"
            ]
        )
        for task in TASKS
    }


def promised_beside_pictures(found: Found) -> float | None:
    """Limit in seconds of the p99 of answers beside generation; None if none of either completed."""
    alone, longest = _p99(found, "alone", "vqa"), step(found, "mixed")["p99"]
    return None if alone is None or longest is None else float(alone + STEPS * longest)


def abnormal_after(found: Found, factor: float) -> list[tuple[float, bool]]:
    """For each request after an overload: seconds since its end, and whether the request was refused, failed, or took
    more than twice the normal time: for an answer the limit beside generation, for an image the p99 beside answers."""
    window = found.windows[recovery(factor)]
    limits = {"vqa": promised_beside_pictures(found), "generate": _p99(found, "mixed", "generate")}

    def is_abnormal(record: Record) -> bool:
        limit = limits[record.task]
        return record.outcome != "completed" or (limit is not None and record.latency > _NORMAL * limit)

    return [(one.scheduled - window.start, is_abnormal(one)) for one in found.of(recovery(factor))]


def _p99(found: Found, phase: str, task: Task) -> float | None:
    return quantile([one.latency for one in found.of(phase, task) if one.outcome == "completed"], 0.99)
