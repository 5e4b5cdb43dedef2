"""On a real server with the embedded model: its worker dies, clients disconnect, it receives SIGTERM."""

from __future__ import annotations

import os
import signal

import psutil
import pytest

from load_tests.acceptance.faults import Faults, StillNotError
from load_tests.acceptance.server_process import ServerProcess
from load_tests.bench.client import Client

# On a slow machine 40 long pictures are more work than a server takes by default.
LONG_WAITS = {"FLASHU_MAX_QUEUE_SECONDS": "3600", "FLASHU_MAX_REQUEST_SECONDS": "3600"}


async def test_a_death_a_client_that_leaves_and_the_end() -> None:
    with ServerProcess(threads=1, environment=LONG_WAITS) as server:
        faults = Faults(server, Client(server.base_url))
        worker = faults.worker()
        assert await faults.leave(crowd=True) > 0
        death = await faults.signal_worker(signal.SIGKILL)
        assert set(death.statuses) == {503}
        assert 0 < death.notified_s < death.again_s
        assert not worker.is_running()
        assert faults.worker().pid != worker.pid
        drained = await faults.drain(60.0)
    assert (drained.under_way, drained.lost, drained.exit_status) == (8, 0, 0)
    assert drained.unready_s <= drained.ended_s


async def test_an_orphan_is_timed_and_requests_that_never_were_active_are_reported() -> None:
    with ServerProcess(threads=1, environment={"FLASHU_MAX_QUEUE_SECONDS": "0.001"}) as server:
        faults = Faults(server, Client(server.base_url))
        worker = faults.worker()
        with pytest.raises(StillNotError, match=r"40 active requests: some have ended already, with \[.*503"):
            await faults.leave(crowd=True)
        seconds = await faults.orphan()
    assert 0 < seconds < 120
    assert worker.pid not in psutil.pids() or worker.status() == psutil.STATUS_ZOMBIE
    with pytest.raises(ProcessLookupError):
        os.kill(server.pid, 0)
