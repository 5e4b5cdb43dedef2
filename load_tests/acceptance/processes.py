"""A server's processes in the process table: which is the worker, and memory and CPU time of the others."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass

import psutil

_WORKER = "server.worker.process"
_EVERY_S = 0.02
_GONE = frozenset({psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD})


class NoWorkerError(RuntimeError):
    """The server has no worker at the moment."""


def worker_of(pid: int) -> psutil.Process:
    """The front end's child that runs the engine.

    Raises:
        NoWorkerError: there is none.
    """
    for child in psutil.Process(pid).children():
        with contextlib.suppress(psutil.NoSuchProcess):
            if _WORKER in child.cmdline():
                return child
    raise NoWorkerError(f"process {pid} has no child that runs {_WORKER}")


def front_end_of(pid: int) -> list[psutil.Process]:
    """The front end and its children, without the worker."""
    front = psutil.Process(pid)
    children = []
    for child in front.children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if _WORKER not in child.cmdline():
                children.append(child)
    return [front, *children]


def runs(process: psutil.Process) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        return process.status() not in _GONE
    except psutil.NoSuchProcess:
        return False


def resident(processes: Sequence[psutil.Process]) -> int:
    """Resident bytes; shared pages count once per process."""
    found = 0
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            found += process.memory_info().rss
    return found


def processor_s(processes: Sequence[psutil.Process]) -> float:
    """Seconds of CPU time used."""
    found = 0.0
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            found += times.user + times.system
    return found


@dataclass(slots=True)
class Memory:
    """Resident bytes before something, and their peak during it."""

    before: int
    peak: int

    @property
    def grown(self) -> int:
        return self.peak - self.before


@contextlib.asynccontextmanager
async def watched(processes: Callable[[], Sequence[psutil.Process]]) -> AsyncIterator[Memory]:
    """Samples memory for the duration of the `async with`."""
    before = resident(processes())
    memory = Memory(before=before, peak=before)

    async def look() -> None:
        while True:
            await asyncio.sleep(_EVERY_S)
            memory.peak = max(memory.peak, resident(processes()))

    looking = asyncio.create_task(look())
    try:
        yield memory
    finally:
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)
