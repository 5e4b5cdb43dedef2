"""How long a server keeps a client waiting that asks for nothing but a sign of life: a process of its own, so that what
the load costs its sender is not taken for the server's. It knows one route, `/livez`, and a clock."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import select
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

from load_tests.client import Client
from load_tests.figures import quantile

_EVERY_S = 0.002
_PATIENCE_S = 60.0


@dataclass(slots=True)
class Waits:
    """What the probe saw; filled in when it has ended.

    Attributes:
        longest_s: the longest wait for an answer, which no stall of the server's event loop exceeds by much.
    """

    probes: int = 0
    median_s: float = 0.0
    longest_s: float = 0.0


@contextlib.asynccontextmanager
async def probing(client: Client) -> AsyncIterator[Waits]:
    """Asks again and again for as long as the `async with` lasts.

    Raises:
        RuntimeError: a probe was not answered; the message has what it said.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "load_tests.probe", client.host, str(client.port)),
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
        waits.probes, waits.median_s, waits.longest_s = found["probes"], found["median_s"], found["longest_s"]


def main(host: str, port: int) -> None:
    """Probes over one connection until its standard input ends, then prints what it saw as JSON."""
    connection = http.client.HTTPConnection(host, port, timeout=_PATIENCE_S)
    seconds = []
    while True:
        begun = time.perf_counter()
        connection.request("GET", "/livez")
        response = connection.getresponse()
        response.read()
        seconds.append(time.perf_counter() - begun)
        if response.status != 200:
            raise SystemExit(f"/livez answered {response.status}")
        if len(seconds) == 1:
            print("begun", flush=True)
        if select.select([sys.stdin], [], [], _EVERY_S)[0]:
            break
    print(json.dumps({"probes": len(seconds), "median_s": quantile(seconds, 0.5), "longest_s": max(seconds)}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
