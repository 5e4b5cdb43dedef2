"""Keeps one process of the engine alive: starts it, watches that it makes progress, kills it when it is stuck, and
replaces it when it died. Which requests were in it is the worker's to say."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from flashu_core import ModelInfo, UnitCosts, UnitEnded
from server.ipc.child_environment import worker_environment
from server.ipc.child_process import Child
from server.ipc.framing import Frame, WireError, encode
from server.ipc.protocol import FromWorker, Load, Loaded, LoadFailed, Shutdown
from server.worker.backoff import RestartBackoff
from server.worker.watchdog import LOOK_S, Watchdog

_log = logging.getLogger("flashu.worker")

Phase = Literal["loading", "ready", "restarting", "failed"]


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkerTimeouts:
    """How long the process may take, and how often it may die.

    Attributes:
        load_s: seconds to load, a download included; each unit of calibrating and warming up starts them anew.
        unit_s: seconds that one unit of work may always take; twice what is usual where that is more.
        stop_s: seconds to end in order after `Shutdown`; after that it is killed.
        restarts: within `window_s` seconds; after one more death it is given up.
    """

    load_s: float = 1800.0
    unit_s: float = 10.0
    stop_s: float = 5.0
    restarts: int = 5
    window_s: float = 60.0


class Client(Protocol):
    """Whose requests the process works on."""

    @property
    def rows(self) -> float:
        """Pictures (of the default size, larger ones in proportion) and answers that may be in a unit now; 0 where
        there is no work."""

    def receive(self, message: FromWorker) -> None: ...
    def ready(self, costs: UnitCosts) -> None: ...
    def lost(self) -> None:
        """The process is gone, and all that was sent to it."""


class Supervisor:
    """One process at a time.

    Args:
        load: what each process loads.
        program: what to start; a descriptor is added to it.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        load: Load,
        timeouts: WorkerTimeouts,
        client: Client,
        *,
        program: Sequence[str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._load = encode(load)
        self._timeouts = timeouts
        self._client = client
        self._program = program
        self._clock = clock
        self._restarts = RestartBackoff(maximum=timeouts.restarts, within_s=timeouts.window_s)
        self._watchdog = Watchdog(timeouts.unit_s, clock())
        self._child: Child | None = None
        self._task: asyncio.Task[None] | None = None
        self._settled = asyncio.Event()  # loaded for the first time, or given up
        self._ending = False
        self._ready_since: float | None = None
        self.phase: Phase = "loading"
        self.info: ModelInfo | None = None
        self.restarts = 0
        self.last_progress = 0.0  # seconds of the epoch, for people

    @property
    def pid(self) -> int | None:
        return None if self._child is None else self._child.pid

    @property
    def stalled(self) -> bool:
        """Whether there is work and half the time it may go without progress is over."""
        rows = self._client.rows
        return rows > 0 and self._watchdog.silence(self._clock()) > self._watchdog.allowance(rows) / 2

    def start(self) -> None:
        self._task = asyncio.create_task(self._run())

    async def settled(self) -> None:
        """Waits until a process is ready for the first time, or none will be."""
        await self._settled.wait()

    def send(self, frame: Frame) -> None:
        """To the process, where there is one."""
        if self._child is not None:
            if self._client.rows == 0:
                self._watchdog.receive(self._clock())
            self._child.send(frame)

    def retire(self) -> None:
        """From now on a process that dies is not replaced."""
        self._ending = True

    async def stop(self) -> None:
        """Ends the process after the unit it is in, or by force."""
        self.retire()
        if self._task is None:
            return
        if self._child is not None:
            self._child.send(encode(Shutdown()))
            await asyncio.wait({self._task}, timeout=self._timeouts.stop_s)
        if not self._task.done():
            self._task.cancel()
        await asyncio.wait({self._task})

    async def _run(self) -> None:
        try:
            while (pause := await self._one_life()) is not None:
                await asyncio.sleep(pause)
        finally:
            self._settled.set()

    async def _one_life(self) -> float | None:
        """One process from start to end; returns the pause before the next one, or None where there is to be none."""
        self._ready_since = None
        try:
            status: int | str = await self._serve()
        except OSError as error:
            status = f"{type(error).__name__} at its start"
        if self._ending:
            return None
        now = self._clock()
        healthy = 0.0 if self._ready_since is None else now - self._ready_since
        if self.phase == "failed":
            return None
        pause = self._restarts.pause(now, healthy)
        if pause is None:
            self.phase = "failed"
            was = "is not started again" if self.info else "was never ready; it is not started again"
            _log.error("the worker ended (%s) %d times and %s", status, self._timeouts.restarts + 1, was)
            return None
        self.phase = "restarting" if self.info else "loading"
        self.restarts += 1
        _log.error("the worker ended (%s); another one is started in %g s", status, pause)
        return pause

    async def _serve(self) -> int:
        child = self._child = await Child.start(self._program, worker_environment(os.environ))
        _log.info("worker started, pid %d", child.pid)
        self._watchdog = Watchdog(self._timeouts.unit_s, self._clock())
        watching = asyncio.create_task(self._keep_watch(child))
        try:
            child.send(self._load)
            async for message in child.messages():
                self._receive(message)
        except WireError as error:
            _log.error("the worker sent a broken frame: %s", error)
            child.kill()
        except asyncio.CancelledError:
            child.kill()
            raise
        finally:
            watching.cancel()
            self._child = None
            if self.phase == "ready" and not self._ending:
                self.phase = "restarting"
            self._client.lost()
            status = await child.end()
        return status

    def _receive(self, message: FromWorker) -> None:
        self._watchdog.receive(self._clock())
        match message:
            case UnitEnded():
                self._watchdog.unit_ended(self._clock(), message)
                self.last_progress = time.time()
                self._client.receive(message)
            case Loaded(info=info, costs=costs):
                self.info, self.phase = info, "ready"
                self._ready_since = self._clock()
                self.last_progress = time.time()
                self._settled.set()
                self._watchdog.know(costs)
                self._client.ready(costs)
            case LoadFailed(message=text, permanent=permanent):
                _log.error("the model cannot be loaded: %s", text)
                if permanent and self.info is None:  # it never was, and so it will not be the next time
                    self.phase = "failed"
            case _:
                self._client.receive(message)

    async def _keep_watch(self, child: Child) -> None:
        """Kills a process that makes no progress."""
        while True:
            await asyncio.sleep(LOOK_S)
            now = self._clock()
            self._watchdog.look(now)
            silent = self._watchdog.silence(now)
            if self._ready_since is None:
                maximum, what = self._timeouts.load_s, "loaded"
            elif rows := self._client.rows:
                maximum, what = self._watchdog.allowance(rows), "ended a unit of work"
            else:
                continue
            if silent > maximum:
                _log.error("the worker has not %s for %.1f s (%.1f s are allowed); killing it", what, silent, maximum)
                child.kill()
                return
