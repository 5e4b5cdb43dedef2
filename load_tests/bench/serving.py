"""A benchmark of a running server: open-loop load at a fixed rate, and its figures as one JSON object.

The object, times in seconds; percentiles are None if no request completed:

    requests, offered_per_s, window_s, seconds   counted requests, and the window in which they were scheduled
    completed, refused, failed, broken           outcomes: 200 with a result; 429 or 503; another status; no reply
    statuses, failures, errors                   counts by HTTP status; by the server's error code; by what broke the
                                                 exchange
    refused_with_retry_after, refused_without_retry_after, refusal_s
    completed_per_s, goodput_per_s               requests completed per second of the window; those that met every
                                                 objective
    tasks.TASK                                   requests, completed, latency_s, first_byte_s, first_event_s (streams),
                                                 mean_s, where_s (see `outcomes.task_summary`)
    objectives[]                                 name, limit_s, measured_s (over all requests; those without a result
                                                 count as infinite), attainment, requests, good, met
    met                                          whether all objectives were
    rejected                                     increases of the server's counters of rejections, if it exposes them
    client                                       late_s: how late requests were sent; limited: whether concurrency was
                                                 limited; max_concurrent; processor: CPU utilisation of the client;
                                                 ended_early: the run stopped because the verdict was certain
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flashu_core.types import Task
from load_tests.bench.arrivals import Segment, Spacing, Window
from load_tests.bench.driver import Driver
from load_tests.bench.hashes import Replay
from load_tests.bench.outcomes import outcomes, task_summary
from load_tests.bench.record import Record
from load_tests.bench.scrape import Samples, grown, scrape
from load_tests.bench.slo import Allowance, Objective, attained, is_good
from load_tests.bench.statistics import max_concurrent, quantiles, throughput

PHASE = "serve"
_BUSY = 0.8  # CPU utilisation above which the client may be the bottleneck


@dataclass(frozen=True, kw_only=True, slots=True)
class Offer:
    """The load of a run.

    Attributes:
        rate: requests per second, of all tasks.
        seconds: counted seconds, after `warmup` seconds of the same load.
        mix: shares of the tasks, which sum to 1.

    Raises:
        ValueError: a number is out of range, or no request would be counted.
    """

    rate: float
    seconds: float
    mix: Mapping[Task, float]
    warmup: float = 0.0
    spacing: Spacing = "poisson"

    def __post_init__(self) -> None:
        for name, value, maximum in (("rate", self.rate, 1e5), ("duration", self.seconds, 1e6)):
            if not 0.0 < value <= maximum:
                raise ValueError(f"the {name} is {value:g}; it must be above 0 and at most {maximum:g}")
        if not 0.0 <= self.warmup <= 1e5:
            raise ValueError(f"the warm-up is {self.warmup:g} s; it must be at least 0 and at most 100000")
        if not any(self.counts.values()):
            raise ValueError(
                f"{self.rate:g} requests per second for {self.seconds:g} s are none; raise the rate or the duration"
            )

    @property
    def rates(self) -> dict[Task, float]:
        return {task: share * self.rate for task, share in self.mix.items()}

    @property
    def counts(self) -> dict[Task, int]:
        """Counted requests of each task."""
        return {task: round(rate * self.seconds) for task, rate in self.rates.items()}

    @property
    def segments(self) -> list[Segment]:
        counted = Segment(phase=PHASE, seconds=self.seconds, rates=self.rates)
        if not self.warmup:
            return [counted]
        return [Segment(phase=PHASE, seconds=self.warmup, rates=self.rates, counted=False), counted]


@dataclass(frozen=True, kw_only=True, slots=True)
class Served:
    """The result of a run.

    Attributes:
        records: of all requests, the warm-up's included.
        busy: CPU utilisation of the client.
        before, after: samples of /metrics.
        limited: whether the client limited concurrency.
        ended_early: whether the run stopped before all requests were sent.
    """

    records: Sequence[Record]
    window: Window
    busy: float
    before: Samples
    after: Samples
    limited: bool = False
    ended_early: bool = False

    @property
    def counted(self) -> list[Record]:
        return [one for one in self.records if one.counted]


async def offer_load(
    driver: Driver,
    offer: Offer,
    objectives: Sequence[Objective] = (),
    *,
    replay: Replay = "arrivals",
    until_certain: bool = False,
) -> Served:
    """Sends the load and waits for the last reply.

    Args:
        replay: `alone` sends the same requests one at a time, ignoring the rate.
        until_certain: stop as soon as an objective can no longer be met.
    """
    before = await scrape(driver.client)
    ended_early = False
    if replay == "alone":
        found = await driver.one_by_one(offer.segments, offer.spacing)
    else:
        enough = _enough(objectives, offer) if until_certain else _never
        found = await driver.open_loop(offer.segments, offer.spacing, enough=enough)
        ended_early = sum(one.counted for one in found.records) < sum(offer.counts.values())
    window = found.windows[PHASE]
    if ended_early:
        window = Window(window.start, max(one.end for one in found.records if one.counted))
    return Served(
        records=found.records,
        window=window,
        busy=found.busy,
        before=before,
        after=await scrape(driver.client),
        limited=driver.limit is not None,
        ended_early=ended_early,
    )


def summarise_serving(served: Served, objectives: Sequence[Objective]) -> dict[str, Any]:
    """All figures, as described in the module's docstring."""
    records, window = served.counted, served.window
    refused = [one for one in records if one.outcome == "refused"]
    waited = Counter(one.retry_after is not None for one in refused)
    found = [attained(one, records) for one in objectives]
    done = [one.worked for one in served.records if one.outcome == "completed"]
    return {
        "window_s": [window.start, window.end],
        "seconds": window.seconds,
        "requests": len(records),
        "offered_per_s": len(records) / window.seconds,
        **outcomes(records),
        "refused_with_retry_after": waited[True],
        "refused_without_retry_after": waited[False],
        "refusal_s": quantiles([one.latency for one in refused]),
        "completed_per_s": throughput(done, window),
        "goodput_per_s": sum(is_good(one, objectives) for one in records) / window.seconds,
        "tasks": {
            task: _task([one for one in records if one.task == task])
            for task in dict.fromkeys(one.task for one in records)
        },
        "objectives": [one.to_json() for one in found],
        "met": all(one.met for one in found),
        "rejected": grown(served.before, served.after, "flashu_rejected_total"),
        "client": {
            "late_s": quantiles([one.late for one in records]),
            "limited": served.limited,
            "max_concurrent": max_concurrent([(one.sent, one.end) for one in served.records]),
            "processor": served.busy,
            "ended_early": served.ended_early,
        },
    }


def warnings(summary: Mapping[str, Any]) -> list[str]:
    """Reasons to distrust the figures."""
    found = []
    client = summary["client"]
    if not summary["completed"]:
        found.append("no request completed")
    if client["processor"] > _BUSY:
        found.append(
            f"the client used {client['processor']:.0%} of a core and may be the bottleneck; run several clients"
        )
    late = client["late_s"]["p99"]
    tightest = min((one["limit_s"] for one in summary["objectives"]), default=None)
    if not client["limited"] and late is not None and tightest is not None and late > 0.1 * tightest:
        found.append(
            f"the client sent {late * 1000:.1f} ms late (p99), more than a tenth of the limit of {tightest:g} s"
        )
    for one in () if client["ended_early"] else summary["objectives"]:
        if not one["requests"]:
            found.append(f"{one['name']} has no requests")
        elif one["requests"] * (1 - one["percent"] / 100) < 1 and one["percent"] < 100:
            found.append(f"{one['name']} of {one['requests']} requests is their maximum; run longer")
    return found


def _task(records: Sequence[Record]) -> dict[str, Any]:
    completed = [one for one in records if one.outcome == "completed"]
    latencies = [one.latency for one in completed]
    return {
        **task_summary(records),
        "mean_s": statistics.fmean(latencies) if latencies else None,
        "first_byte_s": quantiles([one.first_byte - one.scheduled for one in completed if one.first_byte is not None]),
        "first_event_s": quantiles(
            [one.first_event - one.scheduled for one in completed if one.first_event is not None]
        ),
    }


def _enough(objectives: Sequence[Objective], offer: Offer) -> Callable[[Record], bool]:
    return Allowance(objectives, offer.counts).spent


def _never(_: Record) -> bool:
    return False
