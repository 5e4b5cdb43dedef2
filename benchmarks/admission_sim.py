"""Simulates admission before the engine's scheduler: `python -m benchmarks.admission_sim`.

The server's own admission accepts or refuses the requests of a mix, and the engine's own scheduler serves the accepted
ones, in simulated time with recorded costs of units. Results per task: the wait of accepted requests beyond their time
alone, against the limit, and requests served per second, against the task's share of the machine. Answers may end long
before their token limit.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.queueing import Arrival, Guard, serve
from benchmarks.schedule_sim import make_scheduler
from flashu_core.acceleration.plan import Schedule, make_schedule
from flashu_core.acceleration.policies import with_own
from flashu_core.config import EngineConfig
from flashu_core.engine.latency_model import Quote, UnitCosts
from flashu_core.types import GenerateRequest, Request, Stage, Task, UnderstandRequest
from load_tests import results
from load_tests.bench.statistics import quantile
from server.errors import OverloadedError
from server.worker.admission import Admission, QueueLimits, Ticket

TASKS: tuple[Task, ...] = ("generate", "vqa")
WITHIN = 1.3  # times the limit, the 95th percentile of waits
SKIPPED_S = 20.0  # not counted at the start, while admission learns pace and lengths


@dataclass(frozen=True, kw_only=True)
class Stream:
    """Requests of one kind, with exponential gaps.

    Attributes:
        rate: requests per second.
        max_tokens: token limit of an answer.
        tokens: minimum and maximum length of an answer.
        num_inference_steps: None is the policy's own.
        images: images per request.
        since, until: seconds between which they arrive.
    """

    task: Task
    rate: float
    max_tokens: int = 16
    tokens: tuple[int, int] = (1, 16)
    num_inference_steps: int | None = None
    images: int = 1
    since: float = 0.0
    until: float = 120.0
    name: str = ""


@dataclass(frozen=True)
class Found:
    """One stream's results.

    Attributes:
        offered, taken: number of requests that arrived, and that were accepted.
        waits: seconds from arrival to the end, less the request's time alone.
        starts: seconds from arrival to the first unit.
        seconds: duration of the arrivals.
    """

    offered: int
    taken: int
    waits: Sequence[float]
    starts: Sequence[float]
    seconds: float

    def to_json(self) -> dict[str, float | None]:
        return {
            "offered": self.offered,
            "taken": self.taken,
            "per_second": self.taken / self.seconds,
            "wait_p50": quantile(self.waits, 0.5),
            "wait_p95": quantile(self.waits, 0.95),
            "start_p95": quantile(self.starts, 0.95),
        }


class _Admitting(Guard):
    """The server's admission, driven by the simulated worker."""

    def __init__(self, costs: UnitCosts, queue_limits: QueueLimits, requests: Mapping[int, Request]) -> None:
        self._now = 0.0
        self._admission = Admission(costs, queue_limits, clock=lambda: self._now)
        self._requests = requests
        self._tickets: dict[int, Ticket] = {}
        self.starts: dict[int, float] = {}
        self.taken: set[int] = set()

    def takes(self, identity: int, now: float) -> bool:
        self._now = now
        try:
            self._tickets[identity] = self._admission.admit(self._requests[identity])
        except OverloadedError:
            return False
        self.taken.add(identity)
        return True

    def begins(self, identity: int, now: float) -> None:
        self._now = now
        self.starts.setdefault(identity, now)
        self._tickets[identity].begin()

    def ran(self, stage: Stage, identities: Sequence[int], now: float) -> None:
        self._now = now
        self._admission.ran(stage, [self._tickets[identity] for identity in identities])

    def ended(self, identity: int, now: float) -> None:
        self._now = now
        self._tickets.pop(identity).close(finished=True)


def simulate(
    costs: UnitCosts,
    streams: Sequence[Stream],
    *,
    config: EngineConfig,
    queue_limits: QueueLimits,
    policy: str,
    seed: int,
) -> dict[str, Found]:
    """Each stream's result by its name (its task if unnamed); the first seconds are not counted."""
    generated = random.Random(seed)
    trace: list[tuple[Arrival, Request, Quote, Stream]] = []
    for stream in streams:
        for at in _moments(stream, generated):
            request = _request(stream, policy)
            quote = costs.quote(request)
            arrival = Arrival(at=at, task=stream.task)
            if stream.task == "generate":
                arrival = replace(arrival, schedule=_schedule(costs, request, policy), rows=stream.images)
            else:
                arrival = replace(arrival, tokens=generated.randint(*stream.tokens))
                quote = replace(quote, units=arrival.tokens)  # its real time alone
            trace.append((arrival, request, quote, stream))
    trace.sort(key=lambda one: one[0].at)
    guard = _Admitting(costs, queue_limits, {number: one[1] for number, one in enumerate(trace, start=1)})
    outcome = serve([one[0] for one in trace], costs, make_scheduler(config), guard=guard)
    ended = {latency.request: latency.seconds for latency in outcome.latencies}
    found = {}
    for stream in streams:
        name = stream.name or stream.task
        since = stream.since + min(SKIPPED_S, (stream.until - stream.since) / 4)
        own = [(number, one) for number, one in enumerate(trace, start=1) if one[3] is stream and one[0].at >= since]
        taken = [(number, one) for number, one in own if number in guard.taken]
        found[name] = Found(
            offered=len(own),
            taken=len(taken),
            waits=[ended[number] - one[2].seconds for number, one in taken],
            starts=[guard.starts[number] - one[0].at for number, one in taken],
            seconds=stream.until - since,
        )
    return found


def capacity(costs: UnitCosts, stream: Stream, *, config: EngineConfig, policy: str, seed: int) -> float:
    """Requests of a stream that the scheduler serves per second from a queue that is never empty."""
    generated = random.Random(seed)
    request = _request(stream, policy)
    burst = [
        Arrival(
            at=0.0,
            task=stream.task,
            schedule=_schedule(costs, request, policy) if stream.task == "generate" else Schedule(),
            tokens=generated.randint(*stream.tokens),
            rows=stream.images,
        )
        for _ in range(200)
    ]
    return len(burst) / serve(burst, costs, make_scheduler(config)).ended


def _moments(stream: Stream, generated: random.Random) -> Iterator[float]:
    at = stream.since
    while (at := at + generated.expovariate(stream.rate)) < stream.until:
        yield at


def _request(stream: Stream, policy: str) -> Request:
    if stream.task == "generate":
        return GenerateRequest(
            prompt="a", acceleration=policy, num_inference_steps=stream.num_inference_steps, num_images=stream.images
        )
    return UnderstandRequest(question="a", acceleration=policy, max_new_tokens=stream.max_tokens)


def _schedule(costs: UnitCosts, request: Request, policy: str) -> Schedule:
    assert isinstance(request, GenerateRequest)
    generation = with_own(costs.policies)[policy].generate
    num_inference_steps = (
        generation.inference_steps_of(costs.num_inference_steps)
        if request.num_inference_steps is None
        else request.num_inference_steps
    )
    return make_schedule(
        generation.techniques, num_inference_steps=num_inference_steps, guidance_scale=costs.guidance_scale
    )


def mixes(pictures: float, answers: float, seconds: float = 120.0) -> dict[str, list[Stream]]:
    """Streams at multiples of the capacity of each task alone.

    Args:
        pictures, answers: capacity of each task per second.
        seconds: duration of each mix.
    """
    questions = Stream(task="vqa", rate=0.8 * answers, until=seconds)
    generation = Stream(task="generate", rate=pictures, until=seconds)
    half = seconds / 2
    poison = Stream(task="vqa", rate=0.4 * answers, max_tokens=4096, tokens=(1, 3), until=half, name="ended at once")
    longs = Stream(
        task="vqa", rate=10.0, max_tokens=4096, tokens=(4096, 4096), since=half, until=half + seconds / 6, name="long"
    )
    short = Stream(task="vqa", rate=0.2 * answers, until=seconds, name="short")
    giant = Stream(task="generate", rate=2.4 / seconds, num_inference_steps=1000, images=8, until=seconds, name="giant")
    return {
        "long after ended at once": [poison, longs, short],
        "middling after ended at once": [
            replace(poison, max_tokens=128),
            replace(longs, max_tokens=128, tokens=(128, 128)),
            short,
        ],
        "pictures 2x": [replace(generation, rate=2 * pictures)],
        "pictures 2x beside questions": [replace(generation, rate=2 * pictures), questions],
        "pictures 10x beside questions": [replace(generation, rate=10 * pictures), questions],
        "both 2x": [replace(generation, rate=2 * pictures), replace(questions, rate=2 * answers)],
        "both 10x": [replace(generation, rate=10 * pictures), replace(questions, rate=10 * answers)],
        "pictures beside a giant": [giant, replace(generation, rate=0.2 * pictures)],
    }


def run(costs: UnitCosts, *, limit: float, policy: str, seed: int, config: EngineConfig) -> dict[str, Any]:
    """Simulates every mix."""
    queue_limits = QueueLimits(
        seconds=limit, batch=config.max_batch, rows=config.running, answer_weight=config.answer_weight
    )
    maximum: dict[Task, float] = {
        task: capacity(costs, Stream(task=task, rate=1.0), config=config, policy=policy, seed=seed) for task in TASKS
    }
    return {
        "capacity_per_s": maximum,
        "limit_s": limit,
        "mixes": {
            name: {
                stream: found.to_json()
                for stream, found in simulate(
                    costs, streams, config=config, queue_limits=queue_limits, policy=policy, seed=seed
                ).items()
            }
            for name, streams in mixes(maximum["generate"], maximum["vqa"]).items()
        },
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Simulates, saves and prints; returns 1 if accepted requests wait much longer than the limit."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.admission_sim", description=__doc__)
    parser.add_argument("--costs", default="unit-costs-shapes-64", metavar="NAME", help="result with the costs")
    parser.add_argument("--limit", type=float, default=QueueLimits().seconds, help="max_queue_seconds")
    parser.add_argument("--acceleration", default="flashu")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--save", default="admission-sim", metavar="NAME", help="name of the result")
    parser.add_argument("--results", type=Path, default=results.RESULTS, metavar="FOLDER")
    options = parser.parse_args(arguments)
    recorded = json.loads((options.results / f"{options.costs}.json").read_text())
    costs = UnitCosts.from_json(recorded["costs"])
    found = run(costs, limit=options.limit, policy=options.acceleration, seed=options.seed, config=EngineConfig())
    results.save(options.save, {**found, "costs": options.costs, "costs_of": recorded["machine"]}, options.results)
    row = "{:<32}{:<16}{:>9}{:>8}{:>10}{:>10}{:>8}{:>8}"
    print(row.format("mix", "stream", "offered", "taken", "a second", "wait p50", "p95", "start"))
    for name, streams in found["mixes"].items():
        for stream, one in streams.items():
            keys = ("per_second", "wait_p50", "wait_p95", "start_p95")
            seconds = ["" if one[key] is None else f"{one[key]:.2f}" for key in keys]
            print(row.format(name, stream, one["offered"], one["taken"], *seconds))
    # Requests longer than the limit share the machine with all later ones, so they are not judged.
    short = [
        one for streams in found["mixes"].values() for name, one in streams.items() if name not in ("long", "giant")
    ]
    return int(any((one["wait_p95"] or 0.0) > WITHIN * options.limit for one in short))


if __name__ == "__main__":
    raise SystemExit(main())
