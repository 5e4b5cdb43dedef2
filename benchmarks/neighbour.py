"""Times the server beside busy processes: `python -m benchmarks.neighbour [--neighbours N] [--save NAME]`.

Three servers with the embedded model run at once: one with default settings; one that uses all CPUs, as it would for a
larger model; and one with torch's own threads, which spin while they wait. They receive requests in turn (A B C A B C),
quiet and beside N endless loops, so that other load on the machine affects all. The ratios of medians matter: how many
times longer an answer takes beside the loops, and the cost of the choice when quiet. The machine must be idle
otherwise.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import http.client
import io
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from PIL import Image

from flashu_core.machine import describe_machine
from load_tests import results
from load_tests.acceptance.server_process import ServerProcess

BUSY_TARGET, QUIET_TARGET = 4.0, 1.05
# libgomp's defaults.
ALL = {"OMP_NUM_THREADS": str(os.cpu_count())}
SPINNING = {"GOMP_SPINCOUNT": "300000", **ALL}
SHIPPED, MANY, TORCH = "shipped", "all CPUs", "spinning"


# Ends by itself some day, should nobody be left to end it.
_LOOP = "import time\nends = time.monotonic() + 600\nwhile time.monotonic() < ends: pass"


@contextlib.contextmanager
def busy(count: int) -> Iterator[None]:
    """Runs `count` processes in endless loops."""
    loops = [subprocess.Popen([sys.executable, "-c", _LOOP]) for _ in range(count)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def messages(tokens: int) -> Mapping[str, tuple[str, bytes]]:
    """Route and body of one answer and of one image."""
    picture = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)).save(picture, "PNG")
    image = base64.b64encode(picture.getvalue()).decode()
    question = {"image": image, "question": "what is in the picture?", "max_new_tokens": tokens}
    return {
        "answer": ("/v1/vqa", json.dumps(question).encode()),
        "picture": ("/v1/generate", json.dumps({"prompt": "a red circle", "seed": 1}).encode()),
    }


def timed(base_url: str, route: str, body: bytes, count: int) -> list[float]:
    """Seconds of `count` requests, one after the other on one connection.

    Raises:
        RuntimeError: a response was not 200.
    """
    connection = http.client.HTTPConnection(urlsplit(base_url).netloc, timeout=300)
    seconds = []
    with contextlib.closing(connection):
        for _ in range(count):
            begun = time.perf_counter()
            connection.request("POST", route, body, {"content-type": "application/json"})
            response = connection.getresponse()
            content = response.read()
            seconds.append(time.perf_counter() - begun)
            if response.status != 200:
                raise RuntimeError(f"{route} was answered with {response.status}: {content[:300]!r}")
    return seconds


def measure(*, neighbours: int, rounds: int, count: int, tokens: int) -> dict[str, Any]:
    """Seconds by server, kind of request and load, and the ratios of their medians."""
    wanted = messages(tokens)
    with (
        _server({}) as shipped,
        _server(ALL) as many,
        _server(SPINNING) as spinning,
    ):
        servers = {SHIPPED: shipped.base_url, MANY: many.base_url, TORCH: spinning.base_url}
        seconds: dict[str, dict[str, dict[str, list[float]]]] = {
            name: {kind: {"quiet": [], "busy": []} for kind in wanted} for name in servers
        }

        def send(load: str, count: int) -> None:
            for kind, (route, body) in wanted.items():
                for name, base_url in servers.items():
                    seconds[name][kind][load] += timed(base_url, route, body, count)

        for base_url in servers.values():
            for route, body in wanted.values():
                timed(base_url, route, body, 2)
        for _ in range(rounds):
            send("quiet", count)
            with busy(neighbours):
                time.sleep(0.5)
                send("busy", max(count // 4, 2))
    return {"neighbours": neighbours, "tokens": tokens, **ratios(seconds), "seconds": seconds}


def ratios(seconds: Mapping[str, Mapping[str, Mapping[str, Sequence[float]]]]) -> dict[str, Any]:
    """Medians of seconds by server, kind of request and load; busy over quiet; each over spinning, when quiet."""
    medians = {
        name: {kind: {load: statistics.median(times) for load, times in by.items()} for kind, by in kinds.items()}
        for name, kinds in seconds.items()
    }
    return {
        "medians_s": medians,
        "busy_ratio": {
            name: {kind: by["busy"] / by["quiet"] for kind, by in kinds.items()} for name, kinds in medians.items()
        },
        "quiet_ratio": {
            name: {kind: by["quiet"] / medians[TORCH][kind]["quiet"] for kind, by in kinds.items()}
            for name, kinds in medians.items()
        },
    }


@contextlib.contextmanager
def _server(changes: Mapping[str, str]) -> Iterator[ServerProcess]:
    """A server whose threads depend on `changes` alone, not on this process's environment."""
    chosen = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT"), "")
    environment = {**chosen, "KMP_BLOCKTIME": "", "FLASHU_THREADS": "", "FLASHU_MAX_QUEUE_SECONDS": "3600", **changes}
    with ServerProcess(environment=environment) as server:
        yield server


def verdicts(found: Mapping[str, Any]) -> list[tuple[str, float, float, bool]]:
    """Promises: name, figure, limit and whether it is met."""
    figures = (
        ("an answer beside busy processes / quiet", found["busy_ratio"][SHIPPED]["answer"], BUSY_TARGET),
        (f"the same, {MANY}", found["busy_ratio"][MANY]["answer"], BUSY_TARGET),
        ("a quiet answer / with spinning threads", found["quiet_ratio"][SHIPPED]["answer"], QUIET_TARGET),
        ("a quiet picture / with spinning threads", found["quiet_ratio"][SHIPPED]["picture"], QUIET_TARGET),
    )
    return [(words, figure, limit, figure <= limit) for words, figure, limit in figures]


def _table(found: Mapping[str, Any]) -> str:
    lines = [f"{found['neighbours']} busy processes", f"{'':<12}{'':<10}{'quiet (s)':>12}{'busy (s)':>12}{'ratio':>8}"]
    for name, kinds in found["medians_s"].items():
        for kind, medians in kinds.items():
            ratio = found["busy_ratio"][name][kind]
            lines.append(f"{name:<12}{kind:<10}{medians['quiet']:>12.4f}{medians['busy']:>12.4f}{ratio:>8.2f}")
    lines += [
        f"{words}: {figure:.2f}, at most {limit:g}: {'met' if met else 'missed'}"
        for words, figure, limit, met in verdicts(found)
    ]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures and prints; returns 1 if a promise is missed, except with `--quick`."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.neighbour", description=__doc__)
    parser.add_argument("--neighbours", type=int, default=2, help="endless loops beside the servers")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--count", type=int, default=20, help="requests of each kind in a quiet round")
    parser.add_argument("--tokens", type=int, default=16, help="token limit of an answer")
    parser.add_argument("--quick", action="store_true", help="one short round, to check that it works")
    parser.add_argument("--save", metavar="NAME", help="also write benchmarks/results/NAME.json")
    options = parser.parse_args(arguments)
    if options.quick:
        options.rounds, options.count, options.tokens = 1, 2, 2
    found = measure(neighbours=options.neighbours, rounds=options.rounds, count=options.count, tokens=options.tokens)
    found["machine"] = describe_machine()
    print(_table(found))
    if options.save:
        results.save(options.save, found)
    return int(not options.quick and not all(met for *_, met in verdicts(found)))


if __name__ == "__main__":
    raise SystemExit(main())
