"""A few processes that each do one job after another, and a bounded queue before them, in which clients take turns. A
process that takes too long is killed, one that died is replaced; a job that a process has read is tried in no other. It
knows processes and time, not what they do."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Generic, Literal, TypeVar, get_args

from server.errors import OverloadedError, UnavailableError
from server.images.fair_queue import FairQueue
from server.ipc.child_environment import plain_environment
from server.ipc.child_process import Child
from server.ipc.framing import Frame, WireError
from server.limits import MAX_WAITING_IMAGE_BYTES, MAX_WAITING_IMAGES

_log = logging.getLogger("flashu.images")
_FIRST_BACKOFF_S = 0.1
_MAX_BACKOFF_S = 5.0
_START_S = 60.0  # a process takes less than a second, but for a machine that is very busy
_Reason = Literal["timeout", "died"]

Reply = TypeVar("Reply")


class JobTimeoutError(Exception):
    """The job took longer than it may; its process was killed."""


class ProcessLostError(Exception):
    """The process died while it did the job."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PoolLimits:
    """What may wait for a process; of one client half as much, where there are others.

    Attributes:
        max_waiting: jobs.
        max_waiting_bytes: their frames, in all.
        max_wait_s: seconds that one may wait.
    """

    max_waiting: int = MAX_WAITING_IMAGES
    max_waiting_bytes: int = MAX_WAITING_IMAGE_BYTES
    max_wait_s: float = 10.0


@dataclass(slots=True, eq=False)
class _Job(Generic[Reply]):
    frame: Frame
    size: int
    seconds: float
    reply: asyncio.Future[Reply]
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    returned: bool = False  # it was given to a process that did not read it

    def fail(self, error: Exception) -> None:
        if not self.reply.done():
            self.reply.set_exception(error)
        self.begun.set()


class ProcessPool(Generic[Reply]):
    """At most `size` jobs at once.

    Args:
        name: of what is done, for the log and metrics.
        program: what to start; a descriptor is added to it.
        kinds: the messages that a job is answered with; with one of them a process also says that it is ready.
        environment: variables that the processes get beside the plain ones of this one, which are no secrets.
    """

    def __init__(
        self,
        name: str,
        *,
        size: int,
        program: Sequence[str],
        kinds: Sequence[type[Reply]],
        limits: PoolLimits,
        environment: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.name = name
        self._size = size
        self._program = program
        self._kinds = kinds
        self._limits = limits
        self._environment = {**plain_environment(os.environ), **environment}
        self._waiting: FairQueue[_Job[Reply]] = FairQueue(size)
        self._running: set[_Job[Reply]] = set()
        self._came = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._closed = False
        self._ending = asyncio.Event()
        self._children: set[Child] = set()
        self.replaced: dict[str, int] = dict.fromkeys(get_args(_Reason), 0)

    @property
    def waiting(self) -> int:
        """Jobs that no process has come to."""
        return len(self._waiting)

    @property
    def running(self) -> int:
        """Jobs that a process does now."""
        return len(self._running)

    @property
    def pids(self) -> set[int]:
        return {child.pid for child in self._children}

    def start(self) -> None:
        """Starts the processes, within an event loop."""
        self._tasks = [asyncio.create_task(self._keep_one()) for _ in range(self._size)]

    async def run(self, frame: Frame, *, client: str, seconds: float, deadline: float) -> Reply:
        """The reply to a job.

        Args:
            client: whose it is.
            seconds: that it may take, from when a process begins with it; after that the process is killed.
            deadline: monotonic second after which nobody wants the reply. What has begun then still ends in its time.

        Raises:
            OverloadedError: too much waits already, or it waited for too long.
            UnavailableError: the pool is closed.
            asyncio.TimeoutError: the deadline came first.
            JobTimeoutError, ProcessLostError
        """
        if self._closed:
            raise UnavailableError("draining")
        size = sum(len(buffer) for buffer in frame)
        self._check_capacity(client, size)
        job = _Job[Reply](frame, size, seconds, asyncio.get_running_loop().create_future())
        self._waiting.put(job, client)
        self._came.set()
        now = time.monotonic()
        try:
            await asyncio.wait_for(job.begun.wait(), min(self._limits.max_wait_s, deadline - now))
        except asyncio.TimeoutError:
            if deadline - now > self._limits.max_wait_s:
                raise self._overloaded() from None
            raise
        finally:
            if not job.begun.is_set():
                self._waiting.remove(job)
                job.reply.cancel()
        return await asyncio.wait_for(job.reply, deadline - time.monotonic())

    async def stop(self) -> None:
        """Ends all processes at once, whatever they do; their jobs fail because the server shuts down."""
        self.close()
        self._ending.set()
        self._came.set()
        for child in self._children:
            child.kill()
        await asyncio.gather(*self._tasks)

    def close(self) -> None:
        """Takes no more jobs and gives up those that it has."""
        self._closed = True
        for job in (*self._waiting, *self._running):
            job.fail(UnavailableError("draining"))
        self._waiting.clear()

    def _check_capacity(self, client: str, size: int) -> None:
        own = self._waiting.of(client)
        half = own and not self._waiting.is_alone(client)
        for jobs, part in ((self._waiting, 1), (own, 2 if half else 1)):
            waiting = sum(job.size for job in jobs)
            if part * len(jobs) >= self._limits.max_waiting or part * (waiting + size) > self._limits.max_waiting_bytes:
                raise self._overloaded()

    def _overloaded(self) -> OverloadedError:
        return OverloadedError(f"too many pictures wait to be {self.name}d; retry later")

    async def _keep_one(self) -> None:
        backoff = 0.0
        while not self._ending.is_set():
            served = False
            try:
                child = await Child.start(self._program, self._environment)
            except OSError as error:
                _log.error("no process that %ss pictures can be started (%s)", self.name, type(error).__name__)
            else:
                served = await self._use(child)
            # What dies of each picture, or before any, is not to take the machine's time.
            backoff = 0.0 if served else min(max(2 * backoff, _FIRST_BACKOFF_S), _MAX_BACKOFF_S)
            if backoff:
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(self._ending.wait(), backoff)

    async def _use(self, child: Child) -> bool:
        """Gives jobs to a process for as long as it lives; returns whether it did any."""
        self._children.add(child)
        if self._ending.is_set():  # while it was started
            child.kill()
        exited = asyncio.ensure_future(child.exited())
        served, lost = False, not await self._is_ready(child)
        while not lost and (job := await self._next(child, exited)) is not None:
            lost = not await self._do(child, job)
            self._waiting.done(job)
            self._came.set()  # its client may have had as many processes as it may
            served = served or not lost
        if not lost:
            self._lost(child, "died", "ended between two jobs")
        self._children.discard(child)
        child.kill()
        await child.end()
        await exited
        return served

    async def _is_ready(self, child: Child) -> bool:
        try:
            if await asyncio.wait_for(child.receive(self._kinds), _START_S) is not None:
                return True
        except (asyncio.TimeoutError, ConnectionError, WireError):
            pass
        self._lost(child, "died", "did not come up")
        return False

    async def _next(self, child: Child, exited: asyncio.Future[None]) -> _Job[Reply] | None:
        """The job whose turn it is, or None where the process, or the pool, has ended."""
        while child.is_open and not exited.done() and not self._ending.is_set():
            if (job := self._waiting.take()) is not None:
                return job
            self._came.clear()
            came = asyncio.ensure_future(self._came.wait())
            waited: set[asyncio.Future[Any]] = {came, exited}
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
            came.cancel()
        return None

    async def _do(self, child: Child, job: _Job[Reply]) -> bool:
        """Has a job done; returns whether the process can do another."""
        if job.reply.done():  # its caller has left
            return True
        job.begun.set()
        self._running.add(job)
        reply = None
        try:
            child.send(job.frame)
            reply = await asyncio.wait_for(child.receive(self._kinds), job.seconds)
        except asyncio.TimeoutError:
            self._lost(child, "timeout", f"took more than {job.seconds:g} s and is killed")
            job.fail(JobTimeoutError())
            return False
        except ConnectionError:  # it died before it had read the job, which cannot be why
            if not job.returned and not self._closed:
                job.returned = True
                self._waiting.put_back(job)
                self._came.set()
        except WireError:
            pass
        finally:
            self._running.discard(job)
        if reply is not None:
            with contextlib.suppress(asyncio.InvalidStateError):  # nobody waits for it any more
                job.reply.set_result(reply)
            return True
        self._lost(child, "died", "died of a job")
        if job not in self._waiting:
            job.fail(ProcessLostError())
        return False

    def _lost(self, child: Child, reason: _Reason, what: str) -> None:
        if not self._ending.is_set():
            self.replaced[reason] += 1
            _log.warning("the process %d, which %ss pictures, %s; another one is started", child.pid, self.name, what)
