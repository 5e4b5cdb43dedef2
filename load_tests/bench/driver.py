"""Sends requests, open-loop as arrivals say or closed-loop so that a server is never idle, and records every one. It
knows neither phases nor figures."""

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
    """What was sent and what became of it.

    Attributes:
        windows: the counted seconds of each phase, since the run began.
        busy: share of a processor that the client itself took.
    """

    records: Sequence[Record]
    windows: Mapping[str, Window]
    busy: float


class Supply(Protocol):
    """Where messages come from."""

    def next(self, task: Task) -> Message: ...


@dataclass(slots=True)
class Driver:
    """Sends to one server, with one clock for the whole run.

    Attributes:
        limit: requests under way at most in an open loop; the others wait in the client, and their latency counts from
            the scheduled time all the same. None for no limit.
        keep: called with every message and its reply, as it comes.
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
        """Sends at the scheduled times, whatever has come back; returns when all have ended.

        Args:
            again: how often it was called with these segments before; each time the arrivals are others.
            enough: asked about every record; where it says so the run ends, and what is under way is given up.
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
        """Sends what the open loop sends and in its order, but each request alone, when the one before has ended.

        A request's latency counts from its own sending.
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
        """Keeps so many requests under way, each followed by the next; what is refused is sent again when it says.

        Args:
            shares: of each task among the requests.
            lead_s: the first seconds, which are not counted.
            seconds: the counted ones behind them; 0 for a warm-up, of which nothing is.
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
                    # Who is refused asks for the same again, or what is refused more often would be asked for less.
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
        """One request now; `scheduled` is of the loop's clock, and the next message is sent where none is given."""
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
    """What all come to; where it was stopped, of those that have ended by then."""
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
