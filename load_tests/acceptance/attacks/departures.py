"""Clients that disconnect, a worker that dies, a server that receives SIGTERM, and one whose front end is killed."""

from __future__ import annotations

import signal
import time
from collections.abc import Mapping, Sequence

from load_tests.acceptance.attacks.rig import Rig
from load_tests.acceptance.faults import Faults
from load_tests.acceptance.target import Target
from load_tests.bench.client import Client
from load_tests.bench.scrape import STEP, histogram_quantile, scrape

_HANG_S = 2.0  # of our server: the default, 10 s, is for larger models
_GRACE_S = 30.0
_FREE_S, _NOTIFIED_S, _AGAIN_S, _ORPHAN_S, _UNREADY_S = 0.2, 1.0, 5.0, 5.0, 1.0


async def run(rig: Rig) -> Sequence[Target]:
    begun = time.perf_counter()
    with rig.server(hang_timeout_s=_HANG_S, max_queue_seconds=3600) as server:
        load_s = time.perf_counter() - begun
        faults = Faults(server, Client(server.base_url))
        found = [*await _leave(faults), *await _die(faults, load_s), *await _drain(faults)]
    with rig.server() as server:
        found.append(
            Target(
                name="worker exits after the front end is killed",
                unit="s",
                limit=_ORPHAN_S,
                measured=await Faults(server, Client(server.base_url)).orphan(),
            )
        )
    return found


async def _leave(faults: Faults) -> list[Target]:
    await faults.generate()
    unit_s = histogram_quantile({}, await scrape(faults.client), STEP, 1.0) or 0.0
    left = {
        "while it runs": await faults.leave(),
        "in a stream": await faults.leave(stream=True),
        "a byte after its request": await faults.leave_after(b"G"),
        "a request after its request": await faults.leave_after(b"GET /livez HTTP/1.1\r\n\r\n"),
        "much after its request": await faults.leave_after(b"x" * 100_000),
        "forty at once": await faults.leave(crowd=True),
    }
    return [
        Target(
            name=f"request cancelled when its client disconnects, {how}",
            unit="s",
            limit=unit_s + _FREE_S,
            measured=seconds,
            note=f"a denoising step takes up to {unit_s:.3f} s",
        )
        for how, seconds in left.items()
    ]


async def _die(faults: Faults, load_s: float) -> list[Target]:
    targets = []
    for number, timeout in ((signal.SIGKILL, 0.0), (signal.SIGSEGV, 0.0), (signal.SIGSTOP, _HANG_S)):
        death = await faults.signal_worker(number)
        notified = all(status == 503 for status in death.statuses)
        targets += [
            Target(
                name=f"{number.name} of the worker: all active requests get 503",
                unit="s",
                limit=timeout + _NOTIFIED_S,
                measured=death.notified_s if notified else None,
                note=listed(death.statuses) if not notified else f"hang timeout {timeout:g} s" if timeout else "",
            ),
            Target(
                name=f"{number.name} of the worker: the next image",
                unit="s",
                limit=timeout + _AGAIN_S + load_s,
                measured=death.again_s,
                note=f"starting the server took {load_s:.1f} s",
            ),
        ]
    return targets


async def _drain(faults: Faults) -> list[Target]:
    drained = await faults.drain(_GRACE_S)
    ended = drained.exit_status == 0
    return [
        Target(name="SIGTERM: no longer ready", unit="s", limit=_UNREADY_S, measured=drained.unready_s),
        Target(name=f"SIGTERM: lost of {drained.under_way} active requests", unit="", limit=0, measured=drained.lost),
        Target(
            name="SIGTERM: status 0",
            unit="s",
            limit=_GRACE_S,
            measured=drained.ended_s if ended else None,
            note="" if ended else f"status {drained.exit_status}",
        ),
    ]


def listed(counts: Mapping[int | None, int]) -> str:
    """Statuses and their counts."""
    return "; ".join(f"{'none' if status is None else status}, {count} times" for status, count in counts.items())
