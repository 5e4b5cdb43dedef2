"""The worker as the front end sees it: a bounded queue before a process that owns the engine. It knows requests,
priorities and deadlines, nothing of HTTP nor of how the process is kept alive."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from flashu_core import (
    DeadlineExceededError,
    Failed,
    Finished,
    GenerateRequest,
    InvalidRequestError,
    ModelInfo,
    Preview,
    Progress,
    Request,
    Result,
    Text,
)
from server.child import PROGRAM
from server.errors import InternalError, OverloadedError, UnavailableError, WorkerLostError
from server.job import Job, JobEvent, Started
from server.messages import Accepted, Cancel, FromWorker, Load, Refused, Submit
from server.supervisor import Patience, Supervisor
from server.wire import WireError, encode

State = Literal["loading", "ready", "restarting", "draining", "failed"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Room:
    """Requests inside the engine at most, waiting at most, and places in one batch of the engine's."""

    active: int
    queue: int
    batch: int


class Worker:
    """Runs requests in a process of its own. All of it belongs to one event loop.

    Args:
        load: what the process loads.
        program: the process; tests give another one.
        clock: monotonic seconds, the clock of the requests' deadlines.
    """

    def __init__(
        self,
        load: Load,
        room: Room,
        patience: Patience | None = None,
        *,
        program: Sequence[str] = PROGRAM,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._room = room
        self._clock = clock
        self._supervisor = Supervisor(load, patience or Patience(), self, program=program, clock=clock)
        self._draining = False
        self._waiting: list[Job] = []
        self._inside: dict[int, Job] = {}  # sent, and not yet ended by the process
        self._arrivals = 0
        self._service_seconds = 1.0  # what a request takes inside the engine, smoothed
        self._evaluations_saved = 0

    @property
    def state(self) -> State:
        phase = self._supervisor.phase
        return "draining" if self._draining and phase != "failed" else phase

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    @property
    def running(self) -> int:
        return len(self._inside)

    @property
    def pid(self) -> int | None:
        """The process, where there is one."""
        return self._supervisor.pid

    @property
    def restarts(self) -> int:
        return self._supervisor.restarts

    @property
    def last_progress(self) -> float:
        """When a unit of work last ended, in seconds of the epoch; 0 before the first."""
        return self._supervisor.last_progress

    @property
    def evaluations_saved(self) -> int:
        """Evaluations that were not run because nobody wanted their picture any more."""
        return self._evaluations_saved

    def info(self) -> ModelInfo:
        """What the loaded model can do, also while its process is replaced.

        Raises:
            UnavailableError: no model has been loaded.
        """
        if self._supervisor.info is None:
            raise UnavailableError("loading" if self.state == "ready" else self.state)
        return self._supervisor.info

    def start(self) -> None:
        """Starts the process, which begins to load."""
        self._supervisor.start()

    async def loaded(self) -> ModelInfo | None:
        """Waits until the engine is warm for the first time; None where it will not be."""
        await self._supervisor.settled()
        return self._supervisor.info

    def check_ready(self) -> None:
        """Whether requests are taken and move on: what a readiness probe asks.

        Raises:
            UnavailableError
        """
        if self.state != "ready":
            raise UnavailableError(self.state)
        if self._supervisor.stalled:
            raise UnavailableError("stalled")

    def check_open(self) -> None:
        """Whether a request would be taken now: cheap, for a refusal before its picture is decoded.

        Raises:
            UnavailableError, OverloadedError
        """
        if self.state != "ready":
            raise UnavailableError(self.state)
        # Admission is asked here, and nowhere else: today how many may wait, not how long it will take them.
        free = max(self._room.active - len(self._inside), 0)
        if len(self._waiting) >= self._room.queue + free:
            raise OverloadedError(
                f"{len(self._waiting)} requests are waiting and no more may; retry later",
                retry_after=self._predicted_wait(),
            )

    async def run(self, request: Request) -> tuple[Result, float]:
        """The request's result and the seconds it waited. If the awaiting task is cancelled, so is the request.

        Raises:
            UnavailableError, OverloadedError: it was not taken.
            WorkerLostError: the process died.
            DeadlineExceededError: its time ran out; while it waited, the engine has never seen it.
            FlashUError: what the engine refused it or failed with.
            InternalError: the engine could not take it.
        """
        with self._entered(request) as job:
            return await job.result(), job.waited

    async def events(self, request: Request) -> AsyncGenerator[JobEvent, None]:
        """What the engine tells of the request: `Started`, its progress or text, and `Finished` as the last.

        A slow reader gets the last progress only, and pieces of text joined. Close the iterator
        (`contextlib.aclosing`) to leave early; that, or cancelling the reading task, cancels the request.

        Raises:
            as `run` does.
        """
        with self._entered(request) as job:
            while True:
                for event in await job.news():
                    yield event
                    if isinstance(event, Finished):
                        return

    def begin_drain(self) -> None:
        """Takes no more requests; those taken go on."""
        self._draining = True
        self._supervisor.retire()

    def give_up(self) -> None:
        """Takes no more requests, and what is still unfinished fails as unavailable."""
        self.begin_drain()
        self._end_all(lambda _: UnavailableError("draining"))

    async def stop(self) -> None:
        """Gives up and ends the process after the unit it is in."""
        self.give_up()
        await self._supervisor.stop()

    # One request

    @contextlib.contextmanager
    def _entered(self, request: Request) -> Iterator[Job]:
        self.check_open()
        self._arrivals += 1
        job = self._job(self._arrivals, request)
        timer = None
        if job.deadline is not None:
            left = max(job.deadline - job.arrived, 0.0)
            timer = asyncio.get_running_loop().call_later(left, job.end, _too_late())
        self._waiting.append(job)
        try:
            self._dispatch()
            yield job
        finally:
            if timer is not None:
                timer.cancel()
            self._abandon(job)

    def _job(self, number: int, request: Request) -> Job:
        try:
            frame = encode(Submit(request=number, work=request))
        except WireError as error:
            raise InvalidRequestError(f"the request cannot be handed to the engine: {error}") from None
        return Job(
            number=number,
            frame=frame,
            rows=request.images if isinstance(request, GenerateRequest) else 1,
            priority=request.priority,
            deadline=request.deadline,
            arrived=self._clock(),
        )

    def _abandon(self, job: Job) -> None:
        job.abandoned = True
        if job in self._waiting:
            self._waiting.remove(job)
        elif job.number in self._inside:
            self._supervisor.send(encode(Cancel(request=job.number)))

    def _dispatch(self) -> None:
        """Sends the next ones, as many as there are free places."""
        while self._waiting and len(self._inside) < self._room.active and self._supervisor.phase == "ready":
            job = min(self._waiting, key=lambda job: job.rank)
            self._waiting.remove(job)
            job.started = self._clock()
            if job.deadline is not None and job.deadline <= job.started:
                job.end(_too_late())
                continue
            self._supervisor.send(job.frame)
            self._inside[job.number] = job
            job.frame = ()

    def _predicted_wait(self) -> int:
        ahead = len(self._waiting) + 1
        return min(max(math.ceil(ahead * self._service_seconds / self._room.active), 1), 120)

    # The supervisor's client

    @property
    def rows(self) -> int:
        """Pictures and answers that may be in a unit of work now."""
        rows = [job.rows for job in self._inside.values()]
        return min(sum(rows), max(self._room.batch, *rows)) if rows else 0

    def ready(self) -> None:
        self._dispatch()

    def lost(self) -> None:
        self._end_all(lambda job: WorkerLostError(ran=job.number in self._inside))

    def hear(self, message: FromWorker) -> None:
        match message:
            case Accepted(request=number):
                if job := self._inside.get(number):
                    job.tell(Started(number, job.waited))
            case Progress(request=number) | Text(request=number) | Preview(request=number):
                if job := self._inside.get(number):
                    job.tell(message)
            case Finished(request=number):
                if job := self._leave(number):
                    self._service_seconds += 0.2 * (self._clock() - job.started - self._service_seconds)
                    job.end(message)
            case Failed(request=number, error=error):
                if job := self._leave(number):
                    if job.abandoned and job.progress is not None:
                        self._evaluations_saved += job.progress.of - job.progress.evaluation
                    job.end(error)
            case Refused(request=number, error=refusal):
                if job := self._leave(number):
                    job.end(refusal or InternalError())

    def _leave(self, number: int) -> Job | None:
        job = self._inside.pop(number, None)
        self._dispatch()
        return job

    def _end_all(self, reason: Callable[[Job], Exception]) -> None:
        for job in [*self._waiting, *self._inside.values()]:
            job.end(reason(job))
        self._waiting.clear()
        self._inside.clear()


def _too_late() -> DeadlineExceededError:
    return DeadlineExceededError("the result was not ready within timeout_s; allow more time")
