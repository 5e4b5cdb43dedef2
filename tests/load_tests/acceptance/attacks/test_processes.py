"""On real servers: a hang after a pause is timed, a server stops during its start, one that does not stop is killed and
reported."""

from __future__ import annotations

import signal

import psutil
import pytest

from load_tests.acceptance.attacks import processes
from load_tests.acceptance.attacks.pieces import ended
from load_tests.acceptance.attacks.rig import Rig

RIG = Rig(threads=1)


async def test_a_hang_after_a_pause_and_an_end_that_does_not_come() -> None:
    with RIG.server(hang_timeout_s=2) as server:
        target = await processes.hang_after_pause(server, 1.0)
        assert target.measured is not None
        assert 1.0 < target.measured < 11.0
        psutil.Process(server.pid).send_signal(signal.SIGSTOP)  # it cannot end
        killed = await ended(server, "nothing", 0.3)
    assert killed.verdict == "missed"
    assert "killed after" in killed.note


async def test_an_end_while_it_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "_STARTS", 2)
    monkeypatch.setattr(processes, "_START_S", 1.0)
    target = await processes.ends_while_it_starts(RIG)
    assert target.measured is not None
    assert target.measured > 0
    assert not [child for child in psutil.Process().children() if "flashu" in " ".join(child.cmdline())]


async def test_a_server_that_ends_is_timed() -> None:
    with RIG.server() as server:
        target = await ended(server, "nothing", 30.0)
    assert target.verdict == "met"
    assert target.note == ""
