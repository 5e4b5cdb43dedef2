"""What the server promises about harm and failure, with its figures: `python -m load_tests.promises`.

It starts servers of its own with the embedded model and does to them what must not hurt: hostile pictures, bodies and
numbers, clients that leave, signals to the worker and to the front end, a key that asks too often, and, with
`--soak-minutes`, everything at once for a long time. What load alone does, `load_tests.mixed` shows.

Figures, with commit and machine, go to `benchmarks/results/`; the exit status is 1 where a promise is missed. Client
and server share the machine's cores, so a busy machine shows in the figures; every wait of another client is to be
compared with the one beside nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console

from benchmarks import machine
from load_tests import hostile
from load_tests.client import Client, Message
from load_tests.faults import Faults
from load_tests.harm import Refusal, Stall, send_all, stalls
from load_tests.quotas import GREEDY_RATE, share, two_keys
from load_tests.report import targets_table
from load_tests.scrape import EVALUATION, histogram_quantile, scrape
from load_tests.server_process import ServerProcess
from load_tests.soak import Soak, soak
from load_tests.verdicts import Target

_REPEATS = 3  # of each hostile picture
_HANG_S = 2.0  # FLASHU_HANG_TIMEOUT_S of our server: its default, 10 s, is meant for larger models
_GRACE_S = 30.0
_PER_KEY_S = 3.0  # questions a second
_QUOTA_S = 20.0
_SMALL = 100_000  # bytes: hostile requests of a soak are not to be its load
_WIDTH = 160
_BOMB_S, _NUMBER_S, _STALL_S = 0.2, 0.05, 0.1
_FREE_S, _TOLD_S, _AGAIN_S, _ORPHAN_S, _UNREADY_S = 0.2, 1.0, 5.0, 5.0, 1.0
_SUCCESS = 0.99
_GROWTH = 1_000_000.0  # bytes for a thousand requests


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs all, saves and shows what was found."""
    options = _parser().parse_args(arguments)
    console = Console(stderr=True)
    load = os.getloadavg()[0]
    targets, found = asyncio.run(_run(options, console))
    result = {
        "settings": {"threads": options.threads, "seed": options.seed, "soak_minutes": options.soak_minutes},
        "load_average_before": load,
        "promises": [target.to_json() for target in targets],
        **found,
        "machine": machine.describe(),
    }
    path = machine.save(options.save, result, options.results)
    Console(width=None if sys.stdout.isatty() else _WIDTH).print(targets_table(targets))
    console.print(str(path), soft_wrap=True)
    return int(any(target.verdict == "missed" for target in targets))


async def _run(options: argparse.Namespace, console: Console) -> tuple[list[Target], dict[str, Any]]:
    def server(**environment: str) -> ServerProcess:
        return ServerProcess(threads=options.threads, environment=environment)

    console.print("hostile requests, clients that leave, signals to the worker, the end")
    begun = time.perf_counter()
    with server(FLASHU_HANG_TIMEOUT_S=str(_HANG_S), FLASHU_MAX_QUEUE_SECONDS="3600") as one:
        load_s = time.perf_counter() - begun
        client = Client(one.base_url)
        targets, found = await _harm(client)
        targets += await _faults(Faults(one, client), load_s)
    console.print("the front end's death")
    with server() as one:
        targets.append(
            Target(
                name="no worker after the front end's death",
                unit="s",
                limit=_ORPHAN_S,
                measured=await Faults(one, Client(one.base_url)).orphan(),
            )
        )
    console.print("quotas")
    keys = two_keys()
    given = ",".join(f"{name}:{key}" for name, key in keys.items())
    with server(FLASHU_API_KEYS=given, FLASHU_RATE_LIMIT=f"{_PER_KEY_S:g}/second") as one:
        targets.append(await _quotas(one.base_url, keys, options.seed))
    if options.soak_minutes:
        console.print(f"a soak of {options.soak_minutes:g} minutes")
        with server() as one:
            more, found["soak"] = await _soak(one, 60 * options.soak_minutes, options.seed)
            targets += more
    return targets, {"server_start_s": load_s, **found}


async def _harm(client: Client) -> tuple[list[Target], dict[str, Any]]:
    await send_all(client, hostile.numbers())  # what is done once in a process's life is not to count
    numbers = await send_all(client, hostile.numbers())
    pictures = hostile.pictures()
    bombs = [refusal for _ in range(_REPEATS) for refusal in await send_all(client, pictures)]
    stalled = await stalls(client, {**hostile.bodies(), **hostile.endless_bodies(), **pictures})
    statuses = [one.status for one in (*numbers, *bombs)] + [one.status for one in stalled[1:]]
    targets = [
        _slowest("numbers that are none, refused", numbers, _NUMBER_S),
        _slowest("pictures that are bombs, refused", bombs, _BOMB_S),
        _longest(stalled),
        Target(
            name="hostile requests not refused",
            unit="",
            limit=0,
            measured=sum(not _refused(status) for status in statuses),
        ),
    ]
    return targets, {
        "bombs": [asdict(one) for one in bombs],
        "stalls": [asdict(one) for one in stalled],
    }


async def _faults(faults: Faults, load_s: float) -> list[Target]:
    await faults.draw()
    unit_s = histogram_quantile({}, await scrape(faults.client), EVALUATION, 1.0) or 0.0
    left = {
        "while it runs": await faults.leave(),
        "in a stream": await faults.leave(stream=True),
        "forty at once": await faults.leave(crowd=True),
    }
    targets = [
        Target(
            name=f"places free when a client leaves, {how}",
            unit="s",
            limit=unit_s + _FREE_S,
            measured=seconds,
            note=f"an evaluation takes up to {unit_s:.3f} s",
        )
        for how, seconds in left.items()
    ]
    for number, patience in ((signal.SIGKILL, 0.0), (signal.SIGSEGV, 0.0), (signal.SIGSTOP, _HANG_S)):
        death = await faults.signal_worker(number)
        told = all(status == 503 for status in death.statuses)
        targets += [
            Target(
                name=f"{number.name} of the worker: all inside told 503",
                unit="s",
                limit=patience + _TOLD_S,
                measured=death.told_s if told else None,
                note=_listed(death.statuses) if not told else f"its patience is {patience:g} s" if patience else "",
            ),
            Target(
                name=f"{number.name} of the worker: the next picture",
                unit="s",
                limit=patience + _AGAIN_S + load_s,
                measured=death.again_s,
                note=f"starting the server took {load_s:.1f} s",
            ),
        ]
    drained = await faults.drain(_GRACE_S)
    ended = drained.exit_status == 0
    return [
        *targets,
        Target(name="SIGTERM: no longer ready", unit="s", limit=_UNREADY_S, measured=drained.unready_s),
        Target(name=f"SIGTERM: lost of {drained.inside} inside", unit="", limit=0, measured=drained.lost),
        Target(
            name="SIGTERM: status 0",
            unit="s",
            limit=_GRACE_S,
            measured=drained.ended_s if ended else None,
            note="" if ended else f"status {drained.exit_status}",
        ),
    ]


async def _quotas(base_url: str, keys: dict[str, str], seed: int) -> Target:
    found = await share(base_url, keys, per_s=_PER_KEY_S, seconds=_QUOTA_S, seed=seed)
    return Target(
        name=f"success beside a key that asks {GREEDY_RATE:g} times its share",
        unit="",
        limit=_SUCCESS,
        at_least=True,
        measured=found.success,
        note=f"{found.modest.total()} asked; of the other's {found.greedy.total()}, {found.greedy[429]} were refused",
    )


async def _soak(server: ServerProcess, seconds: float, seed: int) -> tuple[list[Target], dict[str, Any]]:
    client = Client(server.base_url)
    processes = {"front end": psutil.Process(server.pid), "worker": Faults(server, client).worker()}
    messages: list[Message] = [*hostile.numbers().values(), *hostile.pictures().values(), *hostile.bodies().values()]
    small = [message for message in messages if len(message.body) <= _SMALL]
    found = await soak(client, processes, small, seconds, seed)
    return _flat(found), found.to_json()


def _flat(found: Soak) -> list[Target]:
    targets = [
        Target(
            name=f"soak: growth of the {name} for 1000 requests",
            unit="MB",
            limit=_GROWTH / 1e6,
            measured=None if (grown := found.growth_per_1000(name)) is None else grown / 1e6,
            note=f"{found.sent.total()} requests",
        )
        for name in found.held
    ]
    targets += [
        Target(name=f"soak: more {what} of the {name}", unit="", limit=0, measured=found.more_at_the_end(name, what))
        for name in found.held
        for what in ("descriptors", "threads")
    ]
    odd = {status: count for status, count in found.statuses.items() if status is None or status >= 500}
    return [*targets, Target(name="soak: failures", unit="", limit=0, measured=sum(odd.values()), note=_listed(odd))]


def _slowest(name: str, refusals: Sequence[Refusal], limit: float) -> Target:
    worst = max(refusals, key=lambda one: one.seconds)
    return Target(
        name=name, unit="s", limit=limit, measured=worst.seconds, note=f"{worst.name}, of {len(refusals)} requests"
    )


def _longest(stalled: Sequence[Stall]) -> Target:
    quiet, *others = stalled
    worst = max(others, key=lambda one: one.waited_s)
    return Target(
        name="another client's longest wait beside hostile requests",
        unit="s",
        limit=_STALL_S,
        measured=worst.waited_s,
        note=f"{worst.name}; beside nothing {1000 * quiet.waited_s:.0f} ms",
    )


def _refused(status: int | None) -> bool:
    return status is not None and 400 <= status < 500


def _listed(counts: Mapping[int | None, int]) -> str:
    return "; ".join(f"{'none' if status is None else status}, {count} times" for status, count in counts.items())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m load_tests.promises", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--soak-minutes", type=float, default=0.0, help="30 is what is promised; none by default")
    parser.add_argument("--threads", type=int, help="OMP_NUM_THREADS of our own servers; all cores by default")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--save", default="promises", metavar="NAME", help="name of the result")
    parser.add_argument("--results", type=Path, default=machine.RESULTS, metavar="FOLDER")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
