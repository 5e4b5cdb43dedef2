"""Mixed open-loop load of generation and understanding on a real server: `python -m load_tests.mixed --minutes 1`.

Starts `flashu serve` with the embedded model on a free port, or uses `--base-url`; measures its capacity; checks that
answers stay fast beside generation, that goodput holds under overload, and that rejections are fast and clean. Figures,
with commit and machine, and a plot go to `benchmarks/results/`; the exit status is 1 if a promise is missed.

C, the capacity, is the number of requests completed per second by a server that is never idle: closed-loop, with
`--concurrency` active requests, measured for generation, for understanding and for the mix. Goodput is compared with C
by work, each completed request weighing 1 / C of its task, because an overloaded server may refuse one task more than
the other. Generation arrives at 0.7 of its C while answers must stay fast.

Latency counts from the scheduled time. The minutes are split among the phases as in `plan` (capacity 26 %, saturation
18 %, answers alone and mixed 15 % each, others 4 to 12 %); further overloads, slow clients and the server's start come
on top. The p99 of fewer than a hundred answers is their maximum, so figures to keep need more minutes. With two or more
cores the client has one of its own and the server the others, because sending is not the server's cost (`--cores
shared` lets both use all).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import shlex
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from flashu_core.machine import describe_machine
from load_tests import results
from load_tests.acceptance.phases import Found, Phases
from load_tests.acceptance.plan import Plan
from load_tests.acceptance.processor import Cores
from load_tests.acceptance.report import show, summarise
from load_tests.acceptance.server_process import ServerProcess
from load_tests.acceptance.verdicts import judge
from load_tests.bench import record
from load_tests.bench.bodies import Bodies
from load_tests.bench.chart import plot
from load_tests.bench.client import Client, Message
from load_tests.bench.driver import Driver

_TIMEOUT_S = 3.0  # of our server for slow clients; its defaults are longer than a short run
_API_KEY = "LOAD_TESTS_API_KEY"  # not FLASHU_*: those are the server's settings, and unknown ones are errors
_BUSY = 0.5  # load average above which other programs distort the measurement
_WIDTH = 160  # of tables when the output is not a terminal
_TIMEOUTS = ("FLASHU_HEAD_TIMEOUT_S", "FLASHU_BODY_TIMEOUT_S", "FLASHU_WRITE_TIMEOUT_S")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs all phases, saves and prints the results."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        plan = _plan(options)
    except ValueError as error:
        parser.error(str(error))
    console = Console(stderr=True)
    others = os.getloadavg()[0]
    if others > _BUSY:
        console.print(f"the machine is busy (load average {others:.1f}): expect worse figures")
    with contextlib.ExitStack() as stack:
        base_url, cores = options.base_url, None
        if base_url is None:
            console.print("starting the server")
            apart = stack.enter_context(_apart(options))
            cores = Cores(server=len(apart) if apart else os.cpu_count() or 1, shared=apart is None)
            base_url = stack.enter_context(_server(options, apart)).base_url
        found = asyncio.run(_run(base_url, plan, options, console))
    summary = summarise(found)
    own = options.base_url is None
    targets = judge(
        found,
        summary,
        slow_limit_s=_TIMEOUT_S if options.slow_clients and own else None,
        max_queue_s=options.max_queue_seconds if own else None,
        answer_weight=options.answer_weight,
        cores=cores,
    )
    result = {
        "settings": _settings(options),
        "load_average_before": others,
        **summary,
        "promises": [target.to_json() for target in targets],
        "machine": describe_machine(),
    }
    path = results.save(options.save, result, options.results)
    plot(found.records, found.windows, path.with_suffix(".png"))
    if options.records:
        record.write(found.records, options.records)
    show(summary, targets, Console(width=None if sys.stdout.isatty() else _WIDTH))
    console.print(f"{path} and {path.with_suffix('.png').name}", soft_wrap=True)
    return int(any(target.verdict == "missed" for target in targets))


@contextlib.contextmanager
def _apart(options: argparse.Namespace) -> Iterator[Collection[int] | None]:
    """Pins this process to one core and yields the other cores, for the server; None if all cores are shared. C is
    measured under the same conditions."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    if options.cores == "shared" or len(cores) < 2:
        yield None
        return
    os.sched_setaffinity(0, cores[-1:])
    try:
        yield cores[:-1]
    finally:
        os.sched_setaffinity(0, cores)


async def _run(base_url: str, plan: Plan, options: argparse.Namespace, console: Console) -> Found:
    client = Client(base_url, api_key=os.environ.get(_API_KEY), timeout_s=options.timeout)
    await _check_ready(client)
    driver = Driver(client, Bodies(options.seed), options.seed)
    phases = Phases(driver, plan, options.concurrency, publish=lambda phase: console.print(f"  {phase}"))
    return await phases.run(slow_clients=options.slow_clients)


async def _check_ready(client: Client) -> None:
    reply = await client.exchange(Message(method="GET", path="/readyz"))
    if reply.status != 200:
        raise SystemExit(f"the server is not ready: status {reply.status}, {reply.error or reply.body.decode()}")


def _server(options: argparse.Namespace, cores: Collection[int] | None) -> ServerProcess:
    environment: Mapping[str, str] = dict.fromkeys(_TIMEOUTS, str(_TIMEOUT_S)) if options.slow_clients else {}
    own = ["--max-queue-seconds", str(options.max_queue_seconds), "--answer-weight", str(options.answer_weight)]
    return ServerProcess(
        [*own, *shlex.split(options.serve)],
        threads=options.threads,
        environment=environment,
        log=options.server_log,
        cores=cores,
    )


def _plan(options: argparse.Namespace) -> Plan:
    return Plan(
        minutes=options.minutes,
        pictures=options.mix,
        picture_load=options.picture_load,
        answer_load=options.answer_load,
        overloads=tuple(options.overload),
    )


def _settings(options: argparse.Namespace) -> dict[str, Any]:
    own = {"save", "results", "records", "server_log"}
    return {name: value for name, value in vars(options).items() if name not in own}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m load_tests.mixed", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    plan = Plan()
    parser.add_argument("--minutes", type=float, default=plan.minutes, help="of load, all phases together")
    parser.add_argument("--base-url", metavar="URL", help=f"a running server; its key, if any, is read from {_API_KEY}")
    parser.add_argument(
        "--max-queue-seconds",
        type=float,
        default=2.0,  # a longer backlog is not finished within 5 s at half the load
        help="of our own server",
    )
    parser.add_argument(
        "--answer-weight", type=float, default=4.0, help="of our own server, or of the one at --base-url"
    )
    parser.add_argument("--serve", default="", metavar="OPTIONS", help="more options of our own `flashu serve`")
    parser.add_argument(
        "--cores",
        choices=["apart", "shared"],
        default="apart",
        help="whether the client has a core of its own and the server the others, if there are several",
    )
    parser.add_argument("--threads", type=int, help="OMP_NUM_THREADS of our own server; all cores by default")
    parser.add_argument("--mix", type=float, default=plan.pictures, help="share of generation requests, by count")
    parser.add_argument(
        "--picture-load",
        type=float,
        default=plan.picture_load,
        help="rate of generation beside answers, as a share of its C",
    )
    parser.add_argument(
        "--answer-load",
        type=float,
        default=plan.answer_load,
        help="rate of answers beside generation, as a share of their C",
    )
    parser.add_argument(
        "--overload",
        type=float,
        nargs="*",
        default=list(plan.overloads),
        help="overloads as multiples of C, one after the other",
    )
    parser.add_argument(
        "--slow-clients", type=int, default=0, nargs="?", const=200, help="number of slow clients; 200 without a number"
    )
    parser.add_argument("--concurrency", type=int, default=16, help="active requests while C is measured")
    parser.add_argument("--timeout", type=float, default=60.0, help="seconds until the client abandons a request")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--records", type=Path, metavar="PATH", help="write every request's record, as PATH.jsonl.gz")
    parser.add_argument("--server-log", type=Path, metavar="PATH", help="write the log of our own server")
    parser.add_argument("--save", default="load-mixed", metavar="NAME", help="name of the result and the plot")
    parser.add_argument("--results", type=Path, default=results.RESULTS, metavar="FOLDER")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
