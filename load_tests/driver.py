"""Sends requests, open-loop as arrivals say or closed-loop so that a server is never idle, and records every one. It
knows neither phases nor figures."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from flashu_core.types import Task
from load_tests.arrivals import Arrival, Segment, Window, arrivals, windows
from load_tests.bodies import Bodies
from load_tests.client import Client
from load_tests.record import Record, record

_LEAD_S = 0.05  # between making the arrivals and the first of them
_LONGEST_RETRY_S = 0.5


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcomes:
    """What was sent and what became of it.

    Attributes:
        windows: the counted seconds of each phase, since the run began.
        busy: share of a processor that the client itself took.
    """

    records: Sequence[Record]
    windows: Mapping[str, Window]
    busy: float


@dataclass(slots=True)
class Driver:
    """Sends to one server, with one clock for the whole run."""

    client: Client
    bodies: Bodies
    seed: int
    began: float = field(default_factory=time.monotonic)  # the clock of asyncio's own loops

    async def open_loop(self, segments: Sequence[Segment]) -> Outcomes:
        """Sends at the scheduled times, whatever has come back; returns when all have ended."""
        loop = asyncio.get_running_loop()
        due = arrivals(segments, self.seed)
        with quiet() as used:
            start = loop.time() + _LEAD_S
            sent = []
            for arrival in due:
                await asyncio.sleep(max(start + arrival.at - loop.time(), 0.0))
                sent.append(asyncio.create_task(self._arrive(arrival, start + arrival.at)))
            records = await asyncio.gather(*sent)
        since = start - self.began
        return Outcomes(
            records=records,
            windows={phase: window.shifted(since) for phase, window in windows(segments).items()},
            busy=used.share,
        )

    async def closed_loop(
        self, phase: str, shares: Mapping[Task, float], *, concurrency: int, lead_s: float, seconds: float
    ) -> Outcomes:
        """Keeps so many requests under way, each followed by the next; what is refused is sent again when it says.

        Args:
            shares: of each task among the requests.
            lead_s: the first seconds, which are not counted.
            seconds: the counted ones behind them; 0 for a warm-up, of which nothing is.
        """
        loop = asyncio.get_running_loop()
        drawn = random.Random(f"{self.seed}/{phase}")
        tasks, weights = list(shares), list(shares.values())
        found: list[Record] = []
        with quiet() as used:
            start = loop.time()
            counts_from, ends = start + lead_s, start + lead_s + seconds

            async def follow() -> None:
                task = None
                while (now := loop.time()) < ends:
                    # Who is refused asks for the same again, or what is refused more often would be asked for less.
                    task = task or drawn.choices(tasks, weights)[0]
                    one = await self.send(phase, task, scheduled=now, counted=now >= counts_from)
                    found.append(one)
                    if one.outcome == "completed":
                        task = None
                    else:
                        await asyncio.sleep(min(one.retry_after or _LONGEST_RETRY_S, _LONGEST_RETRY_S))

            await asyncio.gather(*(follow() for _ in range(concurrency)))
        window = Window(counts_from - self.began, ends - self.began)
        return Outcomes(records=found, windows={phase: window} if seconds else {}, busy=used.share)

    async def send(self, phase: str, task: Task, *, scheduled: float, counted: bool = True) -> Record:
        """One request now; `scheduled` is of the loop's clock."""
        reply = await self.client.exchange(self.bodies.next(task))
        return record(reply, phase=phase, task=task, counted=counted, scheduled=scheduled, began=self.began)

    async def _arrive(self, arrival: Arrival, scheduled: float) -> Record:
        return await self.send(arrival.phase, arrival.task, scheduled=scheduled, counted=arrival.counted)


@dataclass(slots=True)
class Used:
    """Processor time of this process, as a share of the time that passed."""

    share: float = 0.0


@contextlib.contextmanager
def quiet() -> Iterator[Used]:
    """Without garbage collection, whose pauses would look like the server's; all is collected before."""
    used = Used()
    gc.collect()
    gc.freeze()
    gc.disable()
    wall, processor = time.perf_counter(), time.process_time()
    try:
        yield used
    finally:
        used.share = (time.process_time() - processor) / max(time.perf_counter() - wall, 1e-9)
        gc.enable()
        gc.unfreeze()
