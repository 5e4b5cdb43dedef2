"""A server's processes are distinguished, and peaks of memory are measured."""

from __future__ import annotations

import asyncio
import mmap
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from load_tests.acceptance.processes import NoWorkerError, front_end_of, processor_s, resident, runs, watched, worker_of

# A line once it runs: between the call that starts a program and its first instruction, its command line is empty.
SLEEP = "import time; print(flush=True); time.sleep(60)"
# A process of its own, for this one may have a server's worker among its children, of another test.
PARENT = (
    "import subprocess, sys\n"
    "children = []\n"
    "for line in sys.stdin:\n"
    f"    command = [sys.executable, '-c', {SLEEP!r}, *line.split()]\n"
    "    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)\n"
    "    child.stdout.readline()\n"
    "    children.append(child)\n"
    "    print(child.pid, flush=True)\n"
    "for child in children:\n"
    "    child.wait()\n"
)


def test_a_worker_is_distinguished_from_other_children() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdin is not None and parent.stdout is not None
        pids = []
        try:
            for argument in ("nothing", "server.worker.process"):
                with pytest.raises(NoWorkerError):
                    worker_of(parent.pid)
                print(argument, file=parent.stdin, flush=True)
                pids.append(int(parent.stdout.readline()))
            other, worker = map(psutil.Process, pids)
            assert worker_of(parent.pid) == worker
            assert front_end_of(parent.pid) == [psutil.Process(parent.pid), other]
            assert runs(worker)
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGKILL)
        deadline = time.monotonic() + 60
        while runs(worker):  # a zombie, for its parent does not wait for it
            assert time.monotonic() < deadline
            time.sleep(0.01)
        parent.stdin.close()
        parent.wait()
    assert resident([worker]) == 0
    assert processor_s([worker]) == 0


async def test_a_peak_is_seen() -> None:
    async with watched(lambda: [psutil.Process()]) as memory:
        # Not from the allocator, which may have as much that other tests gave back to it.
        with mmap.mmap(-1, 50_000_000) as held:
            held.write(os.urandom(len(held)))
            await asyncio.sleep(0.2)
        await asyncio.sleep(0.1)
    assert memory.grown > 40_000_000
