"""Faults around the server's processes: all are paused, the log is a pipe that is not read, the working directory is
deleted, SIGTERM arrives during the start."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import shutil
import signal
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from load_tests.acceptance.attacks.departures import listed
from load_tests.acceptance.attacks.pieces import ended
from load_tests.acceptance.attacks.rig import Rig
from load_tests.acceptance.faults import Faults
from load_tests.acceptance.server_process import ServerProcess
from load_tests.acceptance.target import Target
from load_tests.bench.client import Client, Message
from load_tests.bench.scrape import STEP, histogram_quantile, scrape

_HANG_S = 2.0
_PAUSE_S = 10.0
_GIVE_UP_S = 10.0
_NOTICED_S = 1.0  # beyond the limit, or beyond two of the longest units if that is more
_UNREAD = 1000
_TOGETHER = 8
_SHUTDOWN_S = 2
_STARTS = 8
_START_S = 4.0  # within which SIGTERM is sent
_ENDS_S = 10.0  # limit after that: imports are not interrupted
_AGAIN_S = 10.0


async def run(rig: Rig) -> Sequence[Target]:
    with rig.server(hang_timeout_s=_HANG_S) as server:
        found = [await hang_after_pause(server)]
        if found[0].verdict == "missed":
            server.kill()  # it may not notice for a minute, and does not stop meanwhile
    found += await unread_log(rig)
    found.append(await no_folder(rig))
    return [*found, await ends_while_it_starts(rig)]


async def hang_after_pause(server: ServerProcess, pause_s: float = _PAUSE_S) -> Target:
    """All processes are paused for a while, as on a suspended machine; then only the worker is."""
    faults = Faults(server, Client(server.base_url, timeout_s=pause_s + _GIVE_UP_S))
    await faults.generate()
    picture = asyncio.create_task(faults.generate())  # the pause hits the middle of a unit
    await asyncio.sleep(0.1)
    both = (server.pid, faults.worker().pid)
    for pid in both:
        os.kill(pid, signal.SIGSTOP)
    await asyncio.sleep(pause_s)
    for pid in both:
        os.kill(pid, signal.SIGCONT)
    await picture
    unit_s = histogram_quantile({}, await scrape(faults.client), STEP, 0.5) or 0.0
    notified_s, statuses = await faults.stop_worker()
    notified = set(statuses) == {503}
    return Target(
        name=f"a hang after all processes paused for {pause_s:g} s: all active requests get 503",
        unit="s",
        limit=max(_HANG_S, 2 * unit_s) + _NOTICED_S,
        measured=notified_s if notified else None,
        note=f"hang timeout {_HANG_S:g} s" if notified else f"after {notified_s:.1f} s: {listed(statuses)}",
    )


async def unread_log(rig: Rig) -> list[Target]:
    """More lines than a pipe holds."""
    with rig.server("--shutdown-timeout", str(_SHUTDOWN_S), unread=True) as server:
        client = Client(server.base_url, timeout_s=5.0)
        statuses: Counter[int | None] = Counter()
        for _ in range(_UNREAD // _TOGETHER):
            message = Message(path="/v1/generate", body=b"{}")
            replies = await asyncio.gather(*(client.exchange(message) for _ in range(_TOGETHER)))
            statuses.update(reply.status for reply in replies)
            if statuses[None] > _TOGETHER:  # it responds no more
                break
        answered = statuses.total() - statuses[None]
        return [
            Target(
                name=f"answered of {_UNREAD} requests while the log is not read",
                unit="",
                limit=_UNREAD,
                at_least=True,
                measured=answered,
                note=listed(statuses),
            ),
            await ended(server, "a log that is not read", _SHUTDOWN_S + 1.0),
        ]


async def no_folder(rig: Rig) -> Target:
    """The working directory is deleted before the worker has to be restarted."""
    folder = Path(tempfile.mkdtemp())
    try:
        with rig.server(folder=folder) as server:
            shutil.rmtree(folder)
            faults = Faults(server, Client(server.base_url))
            await faults.generate()
            seconds: float | None = None
            with contextlib.suppress(asyncio.TimeoutError):
                death = await asyncio.wait_for(faults.signal_worker(signal.SIGKILL), 2 * _AGAIN_S)
                seconds = death.again_s
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return Target(
        name="the next image after the worker's death with a deleted working directory",
        unit="s",
        limit=_AGAIN_S,
        measured=seconds,
    )


async def ends_while_it_starts(rig: Rig) -> Target:
    """SIGTERM at random moments of the start, two servers at a time."""
    rng = random.Random(rig.seed)
    moments = [rng.uniform(0.0, _START_S) for _ in range(_STARTS)]
    lasted: list[float] = []
    for first in range(0, _STARTS, 2):
        lasted += await asyncio.gather(*(_end_at(rig, moment) for moment in moments[first : first + 2]))
    slowest = max(range(_STARTS), key=lambda number: lasted[number])
    return Target(
        name="SIGTERM while it starts: ended",
        unit="s",
        limit=_ENDS_S,
        measured=lasted[slowest],
        note=f"{moments[slowest]:.2f} s after the start, of {_STARTS} starts",
    )


async def _end_at(rig: Rig, moment: float) -> float:
    """Seconds from the signal to the exit; a server that does not exit is killed."""
    server = rig.server("--shutdown-timeout", str(_SHUTDOWN_S))
    server.begin()
    await asyncio.sleep(moment)
    loop = asyncio.get_running_loop()
    begun = loop.time()
    os.kill(server.pid, signal.SIGTERM)
    if await asyncio.to_thread(server.wait, 2 * _ENDS_S) is None:
        server.kill()
    seconds = loop.time() - begun
    server.close()
    return seconds
