"""The phases of a run on one server: the load of each, and the figures that the next one needs.

C, the capacity, is the number of requests completed per second by a server that is never idle: closed-loop, with more
active requests than a batch holds, for each task alone and for the mix. A request counts evenly over the time of its
work, because requests in a batch end together. Images and answers cost very different time, and an overloaded server
may refuse one task more than the other; so goodput is compared with C by work: each completed request counts the
seconds that it takes a saturated server, 1 / C of its task. Images "at 70 % of capacity" arrive at 0.7 of the C of
images alone; answers beside them at a small share of theirs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from flashu_core.types import Task
from load_tests.acceptance.plan import TASKS, Plan
from load_tests.acceptance.slow import SlowClients
from load_tests.bench.arrivals import Segment, Window
from load_tests.bench.driver import Driver, Outcomes, quiet
from load_tests.bench.record import Record
from load_tests.bench.scrape import Samples, scrape
from load_tests.bench.statistics import throughput

SLOW, WITHOUT = "slow clients", "no slow clients"
AGAIN = "capacity mix again"
_BLOCKS = 3  # of each, alternating, so that other load on the machine affects both alike
_LEAST = 0.1  # per second: the next phases need a rate even if no request completed


@dataclass(frozen=True, kw_only=True, slots=True)
class Capacity:
    """C, the capacity.

    Attributes:
        alone: completions per second of each task alone.
        work: seconds of work, each request at 1 / C of its task, that a saturated server does per second of the mix;
            1 if mixing is neither a gain nor a loss.
        mix: completions per second of the mix: `work` divided by the mean work of its requests, because a short run
            does not complete exactly the mix.
    """

    alone: Mapping[Task, float]
    mix: float
    work: float

    def share(self, records: Sequence[Record], window: Window) -> float:
        """Goodput in the window as a share of C; `records` are all that may have ended in it."""
        return _work(records, window, self.alone) / self.work


@dataclass(slots=True)
class Found:
    """The observations of a run.

    Attributes:
        busy: the client's CPU utilisation in each phase.
        scraped: /metrics before and after each phase.
    """

    records: list[Record] = field(default_factory=list)
    windows: dict[str, Window] = field(default_factory=dict)
    busy: dict[str, float] = field(default_factory=dict)
    scraped: dict[str, tuple[Samples, Samples]] = field(default_factory=dict)
    capacity: Capacity = field(default_factory=lambda: Capacity(alone={}, mix=0.0, work=0.0))
    slow: SlowClients | None = None

    def take(self, outcomes: Outcomes) -> None:
        self.records += outcomes.records
        self.windows |= outcomes.windows
        self.busy |= dict.fromkeys(outcomes.windows, outcomes.busy)

    def blocks(self, kind: str) -> list[str]:
        """The phases of a kind."""
        return [phase for phase in self.windows if phase.rpartition(" ")[0] == kind]

    def of(self, phase: str, task: Task | None = None) -> list[Record]:
        """The counted requests of a phase."""
        return [
            record
            for record in self.records
            if record.phase == phase and record.counted and task in (None, record.task)
        ]


@dataclass(slots=True)
class Phases:
    """Runs the phases.

    Args:
        concurrency: active requests while capacity is measured.
        publish: called with the name of each phase as it begins.
    """

    driver: Driver
    plan: Plan
    concurrency: int
    publish: Callable[[str], None]
    found: Found = field(default_factory=Found)

    async def run(self, *, slow_clients: int = 0) -> Found:
        """Runs all phases; those with slow clients only if there are any."""
        plan = self.plan
        warm_up = plan.seconds("warm-up")
        await self._closed("warm-up", plan.mix, lead_s=warm_up, seconds=0.0)
        await self._take("idle", self._idle())
        alone: dict[Task, float] = {}
        for task in TASKS:
            alone[task] = await self._completed(f"capacity {task}", {task: 1.0})
        await self._completed("capacity mix", plan.mix)
        work = max(_work(self.found.records, self.found.windows["capacity mix"], alone), _LEAST)
        mix = work / sum(share / alone[task] for task, share in plan.mix.items())
        self.found.capacity = Capacity(alone=alone, mix=mix, work=work)
        await self._open(plan.beside("alone", alone, ("vqa",)))
        await self._open(plan.beside("mixed", alone))
        await self._open(plan.saturated(mix))
        for factor in plan.overloads:
            await self._open(plan.overloaded(factor, mix))
        await self._completed(AGAIN, plan.mix)
        # A machine's speed drifts within minutes, so C is the mean of both ends.
        work = (work + max(_work(self.found.records, self.found.windows[AGAIN], alone), _LEAST)) / 2
        self.found.capacity = Capacity(alone=alone, mix=mix, work=work)
        if slow_clients:
            await self._beside_slow(slow_clients, alone)
        return self.found

    async def _beside_slow(self, count: int, alone: Mapping[Task, float]) -> None:
        """The same mixed load without and with slow clients, alternating."""
        slow = self.found.slow = SlowClients(self.driver.client)
        for block in range(_BLOCKS):
            await self._open(self.plan.beside(f"{WITHOUT} {block + 1}", alone), block)
            async with slow.beside(count):
                await self._open(self.plan.beside(f"{SLOW} {block + 1}", alone), block)

    async def _idle(self) -> Outcomes:
        """One request at a time, alternating between the tasks."""
        loop = asyncio.get_running_loop()
        records: list[Record] = []
        with quiet() as used:
            start = loop.time()
            while loop.time() < start + self.plan.seconds("idle"):
                for task in TASKS:
                    records.append(await self.driver.send("idle", task, scheduled=loop.time()))
        window = Window(start - self.driver.began, loop.time() - self.driver.began)
        return Outcomes(records=records, windows={"idle": window}, busy=used.share)

    async def _completed(self, phase: str, shares: Mapping[Task, float]) -> float:
        """Completions per second of a server that is never idle."""
        lead = self.plan.lead(phase)
        await self._closed(phase, shares, lead_s=lead, seconds=self.plan.seconds(phase) - lead)
        done = [record.worked for record in self.found.records if record.outcome == "completed"]
        return max(throughput(done, self.found.windows[phase]), _LEAST)

    async def _closed(self, phase: str, shares: Mapping[Task, float], *, lead_s: float, seconds: float) -> None:
        await self._take(
            phase,
            self.driver.closed_loop(phase, shares, concurrency=self.concurrency, lead_s=lead_s, seconds=seconds),
        )

    async def _open(self, segments: Sequence[Segment], again: int = 0) -> None:
        await self._take(segments[0].phase, self.driver.open_loop(segments, again=again))

    async def _take(self, phase: str, outcomes: Awaitable[Outcomes]) -> None:
        self.publish(phase)
        before = await scrape(self.driver.client)
        self.found.take(await outcomes)
        self.found.scraped[phase] = (before, await scrape(self.driver.client))


def _work(records: Sequence[Record], window: Window, alone: Mapping[Task, float]) -> float:
    """Seconds of work done per second of the window."""
    done = [record for record in records if record.outcome == "completed"]
    return throughput([record.worked for record in done], window, [1.0 / alone[record.task] for record in done])
