"""Sends requests and records every one: open-loop at scheduled times, or closed-loop so that the server is never
idle."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from flashu_core.types import Task
from load_tests.bench.arrivals import Arrival, Segment, Spacing, Window, arrivals, windows
from load_tests.bench.client import Client, Message, Reply
from load_tests.bench.record import Record, record

_LEAD_S = 0.05  # between making the arrivals and the first of them
_LONGEST_RETRY_S = 0.5


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcomes:
    """The records of a run.

    Attributes:
        windows: counted window of each phase, in seconds since the run began.
        busy: CPU utilisation of the client itself, 1 for one core.
    """

    records: Sequence[Record]
    windows: Mapping[str, Window]
    busy: float


class Supply(Protocol):
    """A source of messages."""

    def next(self, task: Task) -> Message: ...


@dataclass(slots=True)
class Driver:
    """Sends to one server, with one clock for the whole run.

    Attributes:
        limit: maximum concurrent requests of an open loop; others wait in the client, and their latency still counts
            from the scheduled time. None for no limit.
        keep: called with every message and its reply.
    """

    client: Client
    bodies: Supply
    seed: int
    limit: int | None = None
    keep: Callable[[Message, Reply], None] | None = None
    began: float = field(default_factory=time.monotonic)  # the clock of asyncio's own loops

    async def open_loop(
        self,
        segments: Sequence[Segment],
        spacing: Spacing = "poisson",
        *,
        again: int = 0,
        enough: Callable[[Record], bool] = lambda _: False,
    ) -> Outcomes:
        """Sends at the scheduled times, independent of replies; returns when all requests have ended.

        Args:
            again: number of earlier runs with these segments; each run has different arrivals.
            enough: called with every record; once it returns True the run ends and active requests are cancelled.
        """
        loop = asyncio.get_running_loop()
        due = arrivals(segments, self.seed + again, spacing)
        slots = asyncio.Semaphore(self.limit) if self.limit else contextlib.nullcontext()
        stopped = asyncio.Event()

        async def arrive(arrival: Arrival, scheduled: float, message: Message) -> Record:
            async with slots:
                one = await self.send(
                    arrival.phase, arrival.task, scheduled=scheduled, counted=arrival.counted, message=message
                )
            if enough(one):
                stopped.set()
            return one

        with quiet() as used:
            start = loop.time() + _LEAD_S
            sent: list[asyncio.Task[Record]] = []
            for arrival in due:
                await asyncio.sleep(max(start + arrival.at - loop.time(), 0.0))
                if stopped.is_set():
                    break
                message = self.bodies.next(arrival.task)
                sent.append(asyncio.create_task(arrive(arrival, start + arrival.at, message)))
            records = await _ended(sent, stopped)
        since = start - self.began
        return Outcomes(
            records=records,
            windows={phase: window.shifted(since) for phase, window in windows(segments).items()},
            busy=used.share,
        )

    async def one_by_one(self, segments: Sequence[Segment], spacing: Spacing = "poisson") -> Outcomes:
        """Sends the open loop's requests in the same order, one at a time.

        Latency counts from when a request is sent.
        """
        loop = asyncio.get_running_loop()
        records: list[Record] = []
        starts: dict[str, float] = {}
        ends: dict[str, float] = {}
        with quiet() as used:
            for arrival in arrivals(segments, self.seed, spacing):
                now = loop.time()
                records.append(await self.send(arrival.phase, arrival.task, scheduled=now, counted=arrival.counted))
                if arrival.counted:
                    starts.setdefault(arrival.phase, now - self.began)
                    ends[arrival.phase] = loop.time() - self.began
        found = {phase: Window(start, ends[phase]) for phase, start in starts.items()}
        return Outcomes(records=records, windows=found, busy=used.share)

    async def closed_loop(
        self, phase: str, shares: Mapping[Task, float], *, concurrency: int, lead_s: float, seconds: float
    ) -> Outcomes:
        """Keeps `concurrency` requests active; a refused one is sent again after its `Retry-After`.

        Args:
            shares: of each task among the requests.
            lead_s: seconds before counting starts.
            seconds: counted seconds after that; 0 for a warm-up.
        """
        loop = asyncio.get_running_loop()
        rng = random.Random(f"{self.seed}/{phase}")
        tasks, weights = list(shares), list(shares.values())
        found: list[Record] = []
        with quiet() as used:
            start = loop.time()
            counts_from, ends = start + lead_s, start + lead_s + seconds

            async def follow() -> None:
                task = None
                while (now := loop.time()) < ends:
                    # A refused client repeats the same task: otherwise the task refused more often would be sent less.
                    task = task or rng.choices(tasks, weights)[0]
                    one = await self.send(phase, task, scheduled=now, counted=now >= counts_from)
                    found.append(one)
                    if one.outcome == "completed":
                        task = None
                    else:
                        await asyncio.sleep(min(one.retry_after or _LONGEST_RETRY_S, _LONGEST_RETRY_S))

            await asyncio.gather(*(follow() for _ in range(concurrency)))
        window = Window(counts_from - self.began, ends - self.began)
        return Outcomes(records=found, windows={phase: window} if seconds else {}, busy=used.share)

    async def send(
        self, phase: str, task: Task, *, scheduled: float, counted: bool = True, message: Message | None = None
    ) -> Record:
        """Sends one request now; `scheduled` is on the loop's clock, `message` by default the next one."""
        message = message or self.bodies.next(task)
        reply = await self.client.exchange(message)
        if self.keep is not None:
            self.keep(message, reply)
        return record(
            reply,
            phase=phase,
            task=task,
            counted=counted,
            scheduled=scheduled,
            began=self.began,
            key=message.key,
        )


async def _ended(sent: Sequence[asyncio.Task[Record]], stopped: asyncio.Event) -> list[Record]:
    """Records of all requests; if the run was stopped, of those that had ended by then."""
    stop = asyncio.ensure_future(stopped.wait())
    everything = asyncio.gather(*sent, return_exceptions=True)
    waited: set[asyncio.Future[Any]] = {stop, everything}
    await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
    if stopped.is_set():
        for task in sent:
            task.cancel()
    stop.cancel()
    await everything
    return [task.result() for task in sent if not task.cancelled()]


@dataclass(slots=True)
class Used:
    """CPU time of this process, as a share of wall time."""

    share: float = 0.0


@contextlib.contextmanager
def quiet() -> Iterator[Used]:
    """Disables garbage collection, whose pauses would look like the server's, after a full collection."""
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
