"""Checks the server's promises about attacks and faults: `python -m load_tests.promises`.

Starts servers with the embedded model and attacks them, in groups (`--only NAME` selects some): hostile images, bodies
and numbers; clients that disconnect, hold connections or send byte by byte; signals to the processes; keys that exceed
their share; and, with `--soak-minutes`, everything at once for a long time. `load_tests.mixed` covers load.

Figures, with commit and machine, go to `benchmarks/results/`; the exit status is 1 if a promise is missed. Client and
server share the machine's cores, so a busy machine shows in the figures; compare other clients' waits with the idle
one.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from flashu_core.cli.console import print_table
from flashu_core.machine import describe_machine
from load_tests import results
from load_tests.acceptance.attacks import (
    checkpoints,
    crowding,
    departures,
    endurance,
    greed,
    holding,
    hostility,
    overrides,
    pictures,
    pieces,
    processes,
    smuggling,
    texts,
)
from load_tests.acceptance.attacks.rig import Attack, Rig
from load_tests.acceptance.report import targets_table
from load_tests.acceptance.target import Target

GROUPS: Mapping[str, Attack] = {
    "hostility": hostility.run,
    "smuggling": smuggling.run,
    "departures": departures.run,
    "greed": greed.run,
    "crowding": crowding.run,
    "texts": texts.run,
    "pictures": pictures.run,
    "overrides": overrides.run,
    "pieces": pieces.run,
    "holding": holding.run,
    "processes": processes.run,
    "checkpoints": checkpoints.run,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs all groups, saves and prints the results."""
    options = _parser().parse_args(arguments)
    console = Console(stderr=True)
    load = os.getloadavg()[0]
    targets, found = asyncio.run(_run(options, console))
    result = {
        "settings": {name: getattr(options, name) for name in ("threads", "seed", "soak_minutes", "only")},
        "load_average_before": load,
        "promises": [target.to_json() for target in targets],
        **found,
        "machine": describe_machine(),
    }
    path = results.save(options.save, result, options.results)
    print_table(Console(), targets_table(targets))
    console.print(str(path), soft_wrap=True)
    return int(any(target.verdict == "missed" for target in targets))


async def _run(options: argparse.Namespace, console: Console) -> tuple[list[Target], dict[str, Any]]:
    rig = Rig(threads=options.threads, seed=options.seed)
    targets: list[Target] = []
    seconds: dict[str, float] = {}
    for name in options.only or GROUPS:
        console.print(name)
        begun = time.perf_counter()
        targets += await GROUPS[name](rig)
        seconds[name] = time.perf_counter() - begun
    found: dict[str, Any] = {"seconds": seconds}
    if options.soak_minutes:
        console.print(f"a soak of {options.soak_minutes:g} minutes")
        more, found["soak"] = await endurance.run(rig, 60 * options.soak_minutes)
        targets += more
    return targets, found


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m load_tests.promises", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--soak-minutes", type=float, default=0.0, help="duration of the soak (30 for the promise); none by default"
    )
    parser.add_argument("--only", nargs="+", choices=GROUPS, metavar="GROUP", help=f"of {', '.join(GROUPS)}")
    parser.add_argument("--threads", type=int, help="OMP_NUM_THREADS of our servers; the server's choice by default")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--save", default="promises", metavar="NAME", help="name of the result")
    parser.add_argument("--results", type=Path, default=results.RESULTS, metavar="FOLDER")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
