"""Processes of a server are told apart, and memory that comes and goes is seen."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys

import psutil
import pytest

from load_tests.processes import NoWorkerError, front_end_of, processor_s, resident, runs, watched, worker_of

SLEEP = "import time; time.sleep(60)"


def test_a_worker_is_told_from_other_children() -> None:
    own = os.getpid()
    with pytest.raises(NoWorkerError):
        worker_of(own)
    other = subprocess.Popen([sys.executable, "-c", SLEEP])
    worker = subprocess.Popen([sys.executable, "-c", SLEEP, "server.engine_process"])
    try:
        assert worker_of(own).pid == worker.pid
        front = [process.pid for process in front_end_of(own)]
        assert own in front
        assert other.pid in front
        assert worker.pid not in front
        assert runs(psutil.Process(worker.pid))
    finally:
        for process in (other, worker):
            process.kill()
    ended = psutil.Process(worker.pid)
    worker.wait()
    other.wait()
    assert not runs(ended)
    assert resident([ended]) == 0
    assert processor_s([ended]) == 0


async def test_a_peak_is_seen() -> None:
    async with watched(lambda: [psutil.Process()]) as memory:
        held = bytearray(os.urandom(50_000_000))
        await asyncio.sleep(0.2)
        del held
        await asyncio.sleep(0.1)
    assert memory.grown > 40_000_000
