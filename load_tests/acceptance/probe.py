"""Measures the response time of a cheap route such as `/livez`, from a process of its own, so that the load generator's
own CPU use is not mistaken for the server's."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import select
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from load_tests.bench.client import Client
from load_tests.bench.statistics import quantile

_EVERY_S = 0.002
_TIMEOUT_S = 60.0
_MAX_SECONDS_OF_ONE = 5.0  # timeout of a probe that may fail


@dataclass(slots=True)
class Waits:
    """Results of the probe, filled in when it has ended.

    Attributes:
        longest_s: the longest response time, about the longest stall of the server's event loop.
        failures: probes without a 200, by status or error.
    """

    probes: int = 0
    median_s: float = 0.0
    p99_s: float = 0.0
    longest_s: float = 0.0
    failures: Counter[str] = field(default_factory=Counter)

    @property
    def success(self) -> float | None:
        """Share of the probes with status 200; None without probes."""
        return 1 - self.failures.total() / self.probes if self.probes else None


@contextlib.asynccontextmanager
async def probing(client: Client, path: str = "/livez", *, may_fail: bool = False) -> AsyncIterator[Waits]:
    """Probes repeatedly for the duration of the `async with`.

    Args:
        may_fail: each probe has its own connection, as an orchestrator's, and failures are counted.

    Raises:
        RuntimeError: a probe failed although none may; the message has its error.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *(
            "-m",
            "load_tests.acceptance.probe",
            client.host,
            str(client.port),
            path,
            *(["may-fail"] if may_fail else []),
        ),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    waits = Waits()
    try:
        await process.stdout.readline()  # it has begun
        yield waits
    finally:
        said, errors = await process.communicate(b"")  # which also closes its input: it ends
        if process.returncode:
            raise RuntimeError(f"the probe failed: {errors.decode().strip()[-500:]}")
        found = json.loads(said)
        waits.probes, waits.failures = found["probes"], Counter(found["failures"])
        waits.median_s, waits.p99_s, waits.longest_s = found["median_s"], found["p99_s"], found["longest_s"]


def main(host: str, port: int, path: str, *, may_fail: bool) -> None:
    """Probes until standard input ends, then prints the results as JSON."""
    connection = http.client.HTTPConnection(host, port, timeout=_MAX_SECONDS_OF_ONE if may_fail else _TIMEOUT_S)
    seconds: list[float] = []
    failures: Counter[str] = Counter()
    while True:
        begun = time.perf_counter()
        failure = _probe(connection, path)
        seconds.append(time.perf_counter() - begun)
        if failure is not None:
            if not may_fail:
                raise SystemExit(f"{path} responded with {failure}")
            failures[failure] += 1
        if failure is not None or may_fail:
            connection.close()
        if len(seconds) == 1:
            print("begun", flush=True)
        if select.select([sys.stdin], [], [], _EVERY_S)[0]:
            break
    waits = {"median_s": quantile(seconds, 0.5), "p99_s": quantile(seconds, 0.99), "longest_s": max(seconds)}
    print(json.dumps({"probes": len(seconds), "failures": failures, **waits}))


def _probe(connection: http.client.HTTPConnection, path: str) -> str | None:
    """The status or error in place of a 200; None for a 200."""
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        response.read()
    except (OSError, http.client.HTTPException) as error:
        return type(error).__name__
    return None if response.status == 200 else str(response.status)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3], may_fail=len(sys.argv) > 4)
