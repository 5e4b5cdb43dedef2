"""The worker: one thread that owns the engine, and the bounded queue in front of it. It knows requests, priorities and
deadlines, nothing of HTTP; the event loop and the thread meet under one lock and through futures."""

from __future__ import annotations

import asyncio
import logging
import math
import threading
import time
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import Future
from typing import Literal, Protocol

from flashu_core import (
    DeadlineExceededError,
    Event,
    Failed,
    Finished,
    FlashUError,
    ModelInfo,
    Request,
    Result,
)
from server.errors import InternalError, OverloadedError, UnavailableError
from server.job import Job

_log = logging.getLogger("flashu.worker")
_JOIN_S = 5.0

State = Literal["loading", "ready", "draining", "failed"]


class EngineLike(Protocol):
    """What the worker needs of an engine; it calls all of it from one thread."""

    @property
    def info(self) -> ModelInfo: ...
    @property
    def idle(self) -> bool: ...
    def warm_up(self) -> None: ...
    def submit(self, request: Request) -> int: ...
    def cancel(self, request: int) -> None: ...
    def step(self) -> list[Event]: ...


class Worker:
    """Runs requests, at most `max_active` inside the engine and `max_queue` before it.

    Args:
        load: makes the engine; called in the worker's thread.
        clock: monotonic seconds, the clock of the requests' deadlines.
    """

    def __init__(
        self,
        load: Callable[[], EngineLike],
        *,
        max_queue: int,
        max_active: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._load = load
        self._max_queue = max_queue
        self._max_active = max_active
        self._clock = clock
        self._changed = threading.Condition()  # guards everything below
        self._state: State = "loading"
        self._stopping = False
        self._waiting: list[Job] = []
        self._active: dict[int, Job] = {}  # changed by the worker's thread only
        self._arrivals = 0
        self._service_seconds = 1.0  # what a request takes inside the engine, smoothed
        self._loaded: Future[ModelInfo | None] = Future()  # None: it failed
        self._thread = threading.Thread(target=self._main, name="flashu-worker", daemon=True)

    # The event loop's side

    @property
    def state(self) -> State:
        return self._state

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    @property
    def running(self) -> int:
        return len(self._active)

    def info(self) -> ModelInfo:
        """What the loaded model can do.

        Raises:
            UnavailableError: there is none yet, or not any more.
        """
        if self._state == "loading":
            raise UnavailableError("loading")
        info = self._loaded.result() if self._loaded.done() else None
        if info is None:
            raise UnavailableError("failed" if self._loaded.done() else "draining")
        return info

    def start(self) -> None:
        """Begins to load in the background."""
        self._thread.start()

    async def loaded(self) -> ModelInfo | None:
        """Waits until the engine is warm; None where it did not load."""
        return await asyncio.shield(asyncio.wrap_future(self._loaded))

    def check_open(self) -> None:
        """Whether a request would be taken now: cheap, for a refusal before its picture is decoded.

        Raises:
            UnavailableError, OverloadedError
        """
        if self._state != "ready":
            raise UnavailableError(self._state)
        # A free place in the engine counts: what waits may only wait for the thread to look.
        free = max(self._max_active - len(self._active), 0)
        if len(self._waiting) >= self._max_queue + free:
            raise OverloadedError(
                f"{len(self._waiting)} requests are waiting and no more may; retry later",
                retry_after=self._predicted_wait(),
            )

    async def run(self, request: Request) -> tuple[Result, float]:
        """The request's result and the seconds it waited. If the awaiting task is cancelled, so is the request.

        Raises:
            UnavailableError, OverloadedError: it was not taken.
            DeadlineExceededError: its time ran out; while it waited, the engine has never seen it.
            FlashUError: what the engine refused it or failed with.
            InternalError: the engine broke.
        """
        job = self._enter(request)
        try:
            left = None if request.deadline is None else max(request.deadline - self._clock(), 0.0)
            await asyncio.wait({job.future}, timeout=left)
            if not job.future.done():
                raise _too_late()
            return job.future.result()
        finally:
            self._abandon(job)

    async def events(self, request: Request) -> AsyncGenerator[Event, None]:
        """As `run`, told as it happens; the last one is `Finished`. Closing the iterator cancels the request."""
        told: asyncio.Queue[Event | None] = asyncio.Queue()
        job = self._enter(request, told.put_nowait)
        job.future.add_done_callback(lambda _: told.put_nowait(None))
        try:
            while True:
                left = None if request.deadline is None else max(request.deadline - self._clock(), 0.0)
                try:
                    event = await asyncio.wait_for(told.get(), left)
                except asyncio.TimeoutError:
                    raise _too_late() from None
                if event is None:
                    yield Finished(job.identity, job.future.result()[0])
                    return
                yield event
        finally:
            self._abandon(job)

    def _enter(self, request: Request, listen: Callable[[Event], None] | None = None) -> Job:
        loop = asyncio.get_running_loop()
        with self._changed:
            self.check_open()
            self._arrivals += 1
            job = Job(request, self._arrivals, self._clock(), loop.create_future(), loop, listen)
            self._waiting.append(job)
            self._changed.notify()
        return job

    def begin_drain(self) -> None:
        """Takes no more requests; those taken go on. Any thread may call it."""
        with self._changed:
            if self._state != "failed":
                self._state = "draining"

    async def stop(self) -> None:
        """Ends the thread after the unit of work it is in; what is still unfinished fails as unavailable."""
        self.begin_drain()
        with self._changed:
            self._stopping = True
            self._changed.notify()
        if self._thread.ident is not None:
            await asyncio.to_thread(self._thread.join, _JOIN_S)
            if self._thread.is_alive():
                _log.warning("the worker is still busy after %g s; leaving it behind", _JOIN_S)

    def _abandon(self, job: Job) -> None:
        job.future.cancel()  # nothing where it has ended
        with self._changed:
            job.abandoned = True
            if job in self._waiting:
                self._waiting.remove(job)
            elif job.identity in self._active:
                self._changed.notify()

    def _predicted_wait(self) -> int:
        ahead = len(self._waiting) + 1
        return min(max(math.ceil(ahead * self._service_seconds / self._max_active), 1), 120)

    # The thread's side

    def _main(self) -> None:
        try:
            engine = self._load()
            engine.warm_up()
        except Exception:  # noqa: BLE001 - whatever it was, the probes must go on answering
            _log.exception("the model did not load")
            with self._changed:
                self._state = "failed"
            self._loaded.set_result(None)
            return
        self._loaded.set_result(engine.info)
        with self._changed:
            if self._state == "loading":
                self._state = "ready"
        try:
            self._serve(engine)
        except Exception:  # noqa: BLE001 - the worker's boundary: those who wait must be told
            _log.exception("the engine broke; no more requests are taken")
            with self._changed:
                self._state = "failed"
            self._fail_all(self._take_active(), InternalError())
            self._fail_all(self._take_waiting(), UnavailableError("failed"))
        else:
            self._fail_all(self._take_active() + self._take_waiting(), UnavailableError("draining"))

    def _serve(self, engine: EngineLike) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._stopping or self._may_take() or not engine.idle)
                if self._stopping:
                    return
                taken = self._take()
            for job in taken:
                self._submit(engine, job)
            self._drop_abandoned(engine)
            self._step(engine)

    def _may_take(self) -> bool:
        return bool(self._waiting) and len(self._active) < self._max_active

    def _take(self) -> list[Job]:
        """The next jobs, lowest priority number first, then in order of arrival."""
        taken = sorted(self._waiting, key=lambda job: (job.request.priority, job.number))
        taken = taken[: self._max_active - len(self._active)]
        self._waiting = [job for job in self._waiting if job not in taken]
        return taken

    def _submit(self, engine: EngineLike, job: Job) -> None:
        if job.abandoned:
            return
        job.started = self._clock()
        deadline = job.request.deadline
        if deadline is not None and deadline <= job.started:
            job.fail(_too_late())
            return
        try:
            identity = engine.submit(job.request)
        except FlashUError as error:
            job.fail(error)
        except Exception:  # noqa: BLE001 - the request's boundary: the others must not notice
            _log.exception("the engine could not take a request")
            job.fail(InternalError())
        else:
            with self._changed:
                job.identity = identity
                self._active[identity] = job

    def _drop_abandoned(self, engine: EngineLike) -> None:
        for identity, job in list(self._active.items()):
            if job.abandoned:
                engine.cancel(identity)
                self._leave(identity)

    def _step(self, engine: EngineLike) -> None:
        try:
            events = engine.step()
        except FlashUError as error:
            # It names no request, so it is everyone's; with nobody there it would only come again.
            if not self._active:
                raise
            _log.exception("a step failed")
            for identity in list(self._active):
                engine.cancel(identity)
            self._fail_all(self._take_active(), error)
            return
        for event in events:
            self._deliver(event)

    def _deliver(self, event: Event) -> None:
        match event:
            case Finished(request=identity, result=result):
                job = self._leave(identity)
                if job is not None:
                    self._service_seconds += 0.2 * (self._clock() - job.started - self._service_seconds)
                    job.succeed(result)
            case Failed(request=identity, error=error):
                job = self._leave(identity)
                if job is not None:
                    job.fail(error)
            case _:
                job = self._active.get(event.request)
                if job is not None:
                    job.tell(event)

    def _leave(self, identity: int) -> Job | None:
        with self._changed:
            return self._active.pop(identity, None)

    def _take_active(self) -> list[Job]:
        with self._changed:
            jobs = list(self._active.values())
            self._active = {}
        return jobs

    def _take_waiting(self) -> list[Job]:
        with self._changed:
            jobs, self._waiting = self._waiting, []
        return jobs

    def _fail_all(self, jobs: list[Job], error: Exception) -> None:
        for job in jobs:
            job.fail(error)


def _too_late() -> DeadlineExceededError:
    return DeadlineExceededError("the result was not ready within timeout_s; allow more time")
