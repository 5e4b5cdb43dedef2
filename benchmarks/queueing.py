"""Serves a trace of requests in simulated time, under the engine's own scheduler or first in, first out.

Units take their measured time (`UnitCosts`); nothing is computed.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

from flashu_core.acceleration.plan import Schedule
from flashu_core.engine.latency_model import UnitCosts
from flashu_core.engine.scheduler import Scheduler
from flashu_core.types import Stage, Task


@dataclass(frozen=True, kw_only=True)
class Arrival:
    """A request of the trace.

    Attributes:
        at: seconds from the start.
        schedule: of a picture, a plan for each denoising step.
        tokens: length of an answer.
        rows: images of the request.
    """

    at: float
    task: Task
    schedule: Schedule = field(default_factory=Schedule)
    tokens: int = 0
    rows: int = 1


@dataclass(frozen=True, slots=True)
class Latency:
    """A request that ended `seconds` after its arrival; `request` is its position in the trace, from 1."""

    task: Task
    at: float
    seconds: float
    request: int = 0


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a trace: requests, seconds of work by stage, the longest unit of each stage, and the end time."""

    latencies: Sequence[Latency]
    busy: dict[Stage, float]
    longest: dict[Stage, float]
    ended: float


class Guard(Protocol):
    """Who decides what is taken, and receives what becomes of it."""

    def takes(self, identity: int, now: float) -> bool: ...
    def begins(self, identity: int, now: float) -> None: ...
    def ran(self, stage: Stage, identities: Sequence[int], now: float) -> None: ...
    def ended(self, identity: int, now: float) -> None: ...


def poisson(
    rates: dict[Task, float], count: int, *, schedule: Schedule, tokens: tuple[int, int], seed: int
) -> list[Arrival]:
    """A trace of `count` requests with exponential gaps; answers have a uniform number of tokens.

    Args:
        rates: requests of each task a second.
        count: of both tasks together.
        schedule: of every image.
        tokens: minimum and maximum length of an answer.
        seed: equal seeds give the same requests at any rate, closer or further apart.
    """
    generated = random.Random(seed)
    total = sum(rates.values())
    trace, now = [], 0.0
    for _ in range(count):
        now += generated.expovariate(1.0) / total
        chance, length = generated.random(), generated.randint(*tokens)
        if chance * total < rates.get("generate", 0.0):
            trace.append(Arrival(at=now, task="generate", schedule=schedule))
        else:
            trace.append(Arrival(at=now, task="vqa", tokens=length))
    return trace


@dataclass(slots=True, eq=False)
class Job:
    """A request on the machine, as the scheduler sees it."""

    arrival: int
    request: Arrival
    started: bool = False
    done: int = 0  # denoising steps, or tokens
    priority: ClassVar[int] = 0
    nbytes: ClassVar[int] = 0

    @property
    def request_id(self) -> str:
        return str(self.arrival)

    @property
    def task(self) -> Task:
        return self.request.task

    @property
    def rows(self) -> int:
        return self.request.rows

    @property
    def stage(self) -> Stage:
        request = self.request
        if not self.started:
            return "prefix" if request.task == "generate" else "prefill"
        if request.task == "vqa":
            return "decode"
        return "vae_decode" if self.done == len(request.schedule) else "evaluate"

    @property
    def key(self) -> Hashable:
        if self.stage != "evaluate":
            return None
        plan = self.request.schedule[self.done]
        return (plan.head, plan.run_backbone, plan.ffn if plan.run_backbone else None)

    def advance(self, stage: Stage) -> bool:
        """Advances by a unit; returns whether it was the last."""
        self.started = True
        if stage != "prefix":
            self.done += 1  # a prefill gives the first token
        return stage == "vae_decode" or (self.request.task == "vqa" and self.done >= self.request.tokens)


@dataclass
class _Machine:
    """The clock, and records of units and requests."""

    costs: UnitCosts
    now: float = 0.0
    latencies: list[Latency] = field(default_factory=list)
    busy: dict[Stage, float] = field(default_factory=dict)
    longest: dict[Stage, float] = field(default_factory=dict)

    def run(self, stage: Stage, batch: Sequence[Job]) -> float:
        """Runs one unit for a batch; returns its seconds."""
        seconds = self._seconds(stage, batch)
        self.now += seconds
        self.busy[stage] = self.busy.get(stage, 0.0) + seconds
        self.longest[stage] = max(self.longest.get(stage, 0.0), seconds)
        return seconds

    def end(self, job: Job) -> None:
        request = job.request
        self.latencies.append(Latency(request.task, request.at, self.now - request.at, job.arrival))

    @property
    def outcome(self) -> Outcome:
        return Outcome(self.latencies, self.busy, self.longest, self.now)

    def _seconds(self, stage: Stage, batch: Sequence[Job]) -> float:
        costs, rows = self.costs, sum(job.rows for job in batch)
        match stage:
            case "evaluate":
                return costs.step(batch[0].request.schedule[batch[0].done], rows)
            case "prefix":
                return costs.prefix.seconds(rows)
            case "vae_decode":
                return costs.vae_decode.seconds(rows)
            case "prefill":
                return costs.prefill.seconds(rows)
            case "decode":
                return costs.decode.seconds(rows)


def serve(
    trace: Sequence[Arrival], costs: UnitCosts, scheduler: Scheduler[Job], *, guard: Guard | None = None
) -> Outcome:
    """Serves the trace under the scheduler, which chooses at every unit boundary among all requests that have arrived
    (and that the guard accepted)."""
    machine = _Machine(costs)
    coming = deque(Job(index, arrival) for index, arrival in enumerate(trace, start=1))
    active: dict[int, Job] = {}
    while coming or active:
        if not active:
            machine.now = max(machine.now, coming[0].request.at)
        while coming and coming[0].request.at <= machine.now:
            job = coming.popleft()
            if guard is None or guard.takes(job.arrival, job.request.at):
                active[job.arrival] = job
        unit = scheduler.next_unit(active.values())
        if unit is None:
            continue  # all that has arrived was refused
        begun = machine.now
        scheduler.ran(unit, machine.run(unit.stage, unit.requests))
        if guard is not None:
            for job in unit.requests:
                if not job.started:
                    guard.begins(job.arrival, begun)
            guard.ran(unit.stage, [job.arrival for job in unit.requests], machine.now)
        for job in unit.requests:
            if job.advance(unit.stage):
                machine.end(active.pop(job.arrival))
                if guard is not None:
                    guard.ended(job.arrival, machine.now)
    return machine.outcome


def serve_in_order(trace: Sequence[Arrival], costs: UnitCosts, *, max_batch: int) -> Outcome:
    """Serves the trace first in, first out, each request to its end; with `max_batch` above 1 waiting requests of the
    same task join when one begins."""
    machine = _Machine(costs)
    coming = deque(Job(index, arrival) for index, arrival in enumerate(trace, start=1))
    waiting: deque[Job] = deque()
    while coming or waiting:
        if not waiting:
            machine.now = max(machine.now, coming[0].request.at)
        while coming and coming[0].request.at <= machine.now:
            waiting.append(coming.popleft())
        batch = [job for job in waiting if job.task == waiting[0].task][:max_batch]
        for job in batch:
            waiting.remove(job)
        running = list(batch)
        for stage, mates in _static(running):
            machine.run(stage, mates)
            for job in mates:
                if job.advance(stage):
                    machine.end(job)
                    running.remove(job)
    return machine.outcome


def _static(running: list[Job]) -> Iterator[tuple[Stage, list[Job]]]:
    """The units of a batch that nobody joins: one after the other what cannot be shared, the rest together."""
    while running:
        first = next((job for job in running if not job.started), running[0])
        stage = first.stage
        shared = stage in ("evaluate", "decode")
        yield stage, [job for job in running if job.stage == stage] if shared else [first]
