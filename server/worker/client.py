"""The worker as the front end sees it: admission before a process that owns the engine. In which order requests run is
the engine's to say, which has all that were accepted."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from typing import Literal

from flashu_core import (
    Begun,
    DeadlineExceededError,
    Failed,
    Finished,
    GenerateRequest,
    InvalidRequestError,
    ModelInfo,
    Preview,
    Progress,
    Quote,
    Request,
    RequestEvent,
    Result,
    Task,
    Text,
    UnderstandRequest,
    UnitCosts,
    UnitEnded,
)
from server.errors import InternalError, UnavailableError, WorkerLostError
from server.ipc.child_process import PROGRAM
from server.ipc.framing import WireError, encode
from server.ipc.protocol import Cancel, FromWorker, Load, Refused, Submit, Valid, Validate
from server.worker.active_request import ActiveRequest, uncounted
from server.worker.admission import Admission, AdmissionCounts, QueueLimits
from server.worker.request_handle import RequestHandle
from server.worker.supervisor import Supervisor, WorkerTimeouts
from server.worker.validations import Validations

State = Literal["loading", "ready", "restarting", "draining", "failed"]


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
        limits: QueueLimits,
        timeouts: WorkerTimeouts | None = None,
        *,
        program: Sequence[str] = PROGRAM,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._load = load
        self._limits = limits
        self._clock = clock
        self._supervisor = Supervisor(load, timeouts or WorkerTimeouts(), self, program=program, clock=clock)
        self._admission: Admission | None = None  # of a process that is ready
        self._costs: UnitCosts | None = None
        self._counts = AdmissionCounts()
        self._draining = False
        self._active: dict[str, ActiveRequest] = {}  # sent, and not yet ended by the process
        self._validations = Validations()
        self._arrivals = 0
        self._steps_saved = 0
        self._memory: Mapping[str, int] = {}
        self._on_unit: Callable[[UnitEnded], None] = lambda _: None

    @property
    def state(self) -> State:
        phase = self._supervisor.phase
        return "draining" if self._draining and phase != "failed" else phase

    @property
    def waiting(self) -> int:
        """Requests that the engine has not come to yet."""
        return sum(not entry.ticket.started for entry in self._active.values())

    @property
    def running(self) -> int:
        return len(self._active) - self.waiting

    @property
    def backlog(self) -> float:
        """Predicted seconds until all that was accepted is done."""
        return 0.0 if self._admission is None else self._admission.backlog

    @property
    def admissions(self) -> AdmissionCounts:
        """What was accepted and refused, of every process together."""
        return self._counts

    def predicted_wait(self, task: Task) -> float:
        """Seconds that a request of a task that came now would wait; 0 while there is no process."""
        return 0.0 if self._admission is None else self._admission.predicted_wait(task)

    @property
    def memory(self) -> Mapping[str, int]:
        """Bytes on the device by kind, as of the last unit; nothing while there is no process."""
        return self._memory

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
    def steps_saved(self) -> int:
        """Denoising steps that were not run because their request was cancelled."""
        return self._steps_saved

    def info(self) -> ModelInfo:
        """What the loaded model can do, also while its process is replaced.

        Raises:
            UnavailableError: no model has been loaded.
        """
        if self._supervisor.info is None:
            raise UnavailableError("loading" if self.state == "ready" else self.state)
        return self._supervisor.info

    def watch(self, on_unit: Callable[[UnitEnded], None]) -> None:
        """Has `on_unit` called after every unit that a ready process ends."""
        self._on_unit = on_unit

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

    def check_open(self, task: Task, priority: int = 0) -> None:
        """Whether a request would be taken now: cheap, for a refusal before its picture is decoded.

        Raises:
            UnavailableError, OverloadedError
        """
        self._open().check(task, priority)

    def quote(self, request: Request) -> Quote:
        """What a request takes alone.

        Raises:
            UnavailableError, InvalidRequestError
        """
        return self._open().quote(request)

    def longest_answer(self, request: UnderstandRequest, seconds: float) -> int:
        """Tokens that an answer may have to be ready within `seconds`, as `Admission.longest_answer`.

        Raises:
            UnavailableError, InvalidRequestError
        """
        return self._open().longest_answer(request, seconds)

    async def validate(self, request: Request) -> None:
        """Whether the engine would take a request; nothing is run.

        Raises:
            UnavailableError, WorkerLostError
            DeadlineExceededError: there was no answer before the request's deadline.
            FlashUError: what the engine would refuse it with.
            InternalError: the engine could not tell.
        """
        self._open()
        request_id = self._new_id()
        self._supervisor.send(encode(Validate(request_id=request_id, request=request)))
        left = None if request.deadline is None else request.deadline - self._clock()
        try:
            await self._validations.answer(request_id, within_s=left)
        except asyncio.TimeoutError:
            raise _too_late() from None

    async def run(
        self, request: Request, on_work: Callable[[int], None] = uncounted, *, quote: Quote | None = None
    ) -> Result:
        """The request's result. If the awaiting task is cancelled, so is the request.

        Args:
            quote: as from `quote`, where the caller has it already.
            on_work: called with steps (of all pictures) or tokens, as they are run.

        Raises:
            UnavailableError, OverloadedError: it was not taken.
            WorkerLostError: the process died.
            DeadlineExceededError: its time ran out.
            FlashUError: what the engine refused it or failed with.
            InternalError: the engine could not take it.
        """
        with self._entered(request, on_work, quote) as handle:
            return await handle.result()

    async def events(
        self, request: Request, on_work: Callable[[int], None] = uncounted, *, quote: Quote | None = None
    ) -> AsyncGenerator[RequestEvent, None]:
        """The request's events: its progress or text, and `Finished` as the last.

        A slow reader gets the last progress only, and pieces of text joined. Close the iterator
        (`contextlib.aclosing`) to leave early; that, or cancelling the reading task, cancels the request.

        Raises:
            as `run` does.
        """
        with self._entered(request, on_work, quote, streamed=True) as handle:
            while True:
                for event in await handle.next_events():
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
        self._validations.fail(UnavailableError("draining"))
        self._end_all(lambda _: UnavailableError("draining"))

    async def stop(self) -> None:
        """Gives up and ends the process after the unit it is in."""
        self.give_up()
        await self._supervisor.stop()

    # One request

    def _new_id(self) -> str:
        self._arrivals += 1
        return f"request-{self._arrivals}"

    def _open(self) -> Admission:
        if self.state != "ready" or self._admission is None:
            raise UnavailableError("loading" if self.state == "ready" else self.state)
        return self._admission

    @contextlib.contextmanager
    def _entered(
        self, request: Request, on_work: Callable[[int], None], quote: Quote | None, *, streamed: bool = False
    ) -> Iterator[RequestHandle]:
        """Submits a request, and cancels it where it is left before its end."""
        admission = self._open()
        if request.deadline is not None and self._clock() >= request.deadline:
            raise _too_late()  # before it costs anything
        request_id = self._new_id()
        try:
            frame = encode(Submit(request_id=request_id, request=request, arrived=self._clock()))
        except WireError as error:
            raise InvalidRequestError(f"the request cannot be handed to the engine: {error}") from None
        ticket = admission.admit(request, quote)
        handle = RequestHandle(request_id=request_id, rows=ticket.quote.rows, streamed=streamed)
        size = self._size(request) if isinstance(request, GenerateRequest) else 1.0
        entry = ActiveRequest(handle, ticket, on_work, size=size)
        timer = None
        if request.deadline is not None:
            # The engine holds it too, at its units' ends; this one holds where the engine does not move.
            left = max(request.deadline - self._clock(), 0.0)
            timer = asyncio.get_running_loop().call_later(left, handle.end, _too_late())
        self._supervisor.send(frame)
        self._active[request_id] = entry
        try:
            yield handle
        finally:
            if timer is not None:
                timer.cancel()
            self._abandon(entry)

    def _abandon(self, entry: ActiveRequest) -> None:
        entry.handle.abandoned = True
        if entry.handle.request_id in self._active:
            # What is left of it is not going to run, and what runs now is not counted later.
            entry.count(ahead=int(entry.ticket.started))
            entry.ticket.close(finished=False)
            self._supervisor.send(encode(Cancel(request_id=entry.handle.request_id)))

    def _size(self, request: GenerateRequest) -> float:
        if self._costs is None or (request.width, request.height) not in self.info().sizes:
            return 1.0
        return max(self._costs.relative_size(request.width, request.height), 1.0)

    # The supervisor's client

    @property
    def rows(self) -> float:
        """Pictures (of the default size, larger ones in proportion) and answers that may be in a unit of work now."""
        maximum = self._load.engine.max_batch
        entries = [
            (entry.handle.rows * entry.size, max(maximum, entry.handle.rows) * entry.size)
            for entry in self._active.values()
        ]
        return min(sum(rows for rows, _ in entries), max((batch for _, batch in entries), default=0.0))

    def ready(self, costs: UnitCosts) -> None:
        self._costs = costs
        self._admission = Admission(costs, self._limits, self._counts, clock=self._clock)

    def lost(self) -> None:
        self._admission = None
        self._memory = {}
        self._validations.fail(WorkerLostError(ran=False))
        self._end_all(lambda entry: WorkerLostError(ran=entry.ticket.started))

    def receive(self, message: FromWorker) -> None:
        match message:
            case UnitEnded():
                self._memory = message.memory
                if self._admission is not None:  # not one of warming up
                    self._unit_ended(self._admission, message)
            case Begun(request_id=request_id):
                if entry := self._active.get(request_id):
                    entry.ticket.begin()
            case Progress(request_id=request_id) | Text(request_id=request_id) | Preview(request_id=request_id):
                if entry := self._active.get(request_id):
                    entry.handle.publish(message)
            case Finished(request_id=request_id):
                if entry := self._active.pop(request_id, None):
                    entry.ticket.close(finished=True)
                    entry.handle.end(message)
            case Failed(request_id=request_id, error=error):
                if entry := self._left(request_id):
                    if entry.handle.abandoned:
                        self._steps_saved += entry.handle.steps_left
                    entry.handle.end(error)
            case Valid(request_id=request_id):
                self._validations.publish(request_id, None)
            case Refused(request_id=request_id, error=refusal):
                self._validations.publish(request_id, refusal or InternalError())
                if entry := self._left(request_id):
                    entry.handle.end(refusal or InternalError())

    def _unit_ended(self, admission: Admission, unit: UnitEnded) -> None:
        entries = [self._active.get(request_id) for request_id in unit.request_ids]
        admission.ran(unit.stage, [None if entry is None else entry.ticket for entry in entries])
        for entry in entries:
            if entry is not None and not entry.handle.abandoned:
                entry.count()
        self._on_unit(unit)

    def _left(self, request_id: str) -> ActiveRequest | None:
        """Takes out a request that came to no result."""
        if entry := self._active.pop(request_id, None):
            entry.ticket.close(finished=False)
        return entry

    def _end_all(self, reason: Callable[[ActiveRequest], Exception]) -> None:
        for entry in self._active.values():
            entry.ticket.close(finished=False)
            entry.handle.end(reason(entry))
        self._active.clear()


def _too_late() -> DeadlineExceededError:
    return DeadlineExceededError("the result was not ready within timeout_s; allow more time")
