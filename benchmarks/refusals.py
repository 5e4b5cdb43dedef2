"""Measures the cost of a refusal in the front end: `python -m benchmarks.refusals`.

A server without a queue is kept busy by one long request of each task. Requests of each kind are then sent over
persistent connections, and the CPU time of the front end's process (without the worker) is divided by their number. A
404 for an unknown path shows the cost of HTTP itself.
"""

from __future__ import annotations

import argparse
import base64
import http.client
import json
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil

from flashu_core.machine import describe_machine
from load_tests import results
from load_tests.acceptance.server_process import ServerProcess

WARM_UP = 200  # uncounted requests of each kind
_PICTURE = base64.b64encode(bytes(3000)).decode()
KINDS: Mapping[str, tuple[str, Any]] = {
    "no such path": ("/v1/none", {"prompt": "a red circle"}),
    "a picture": ("/v1/generate", {"prompt": "a red circle above a blue square", "seed": 3}),
    "a picture, 100 kB": ("/v1/generate", {"prompt": "a red circle", "negative_prompt": "x" * 30_000}),
    "an OpenAI picture": ("/v1/images/generations", {"prompt": "a red circle"}),
    "an answer": ("/v1/vqa", {"question": "what is this?", "image": _PICTURE}),
    "either": ("/v1/infer", {"prompt": "draw a red circle"}),
    "a chat": ("/v1/chat/completions", {"model": "shapes-64", "messages": [{"role": "user", "content": "draw a cat"}]}),
}


def measure(url: str, pid: int, path: str, body: Any, count: int) -> dict[str, float]:
    """CPU microseconds of the process per request, over `count` sequential requests, and their status."""
    address = urlsplit(url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=60)
    data, headers = json.dumps(body).encode(), {"Content-Type": "application/json"}
    process = psutil.Process(pid)
    before, statuses = 0.0, set()
    for number in range(WARM_UP + count):
        if number == WARM_UP:
            before = _seconds(process)
        connection.request("POST", path, data, headers)
        reply = connection.getresponse()
        reply.read()
        statuses.add(reply.status)
    spent = _seconds(process) - before
    connection.close()
    return {"microseconds": spent / count * 1e6, "status": max(statuses), "statuses": len(statuses)}


def _seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures, saves and prints."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.refusals", description=__doc__)
    parser.add_argument("--count", type=int, default=2000, help="requests of each kind")
    parser.add_argument("--save", default="refusals", metavar="NAME", help="name of the result")
    parser.add_argument("--results", type=Path, default=results.RESULTS, metavar="FOLDER")
    options = parser.parse_args(arguments)
    busy = ("--max-queue", "0", "--max-request-seconds", "86400", "--log-level", "warning")
    with ServerProcess(busy, threads=1) as server:
        ends = threading.Event()
        blockers = [threading.Thread(target=_hold, args=(server.base_url, ends, body)) for body in _LONG]
        for blocker in blockers:
            blocker.start()
        ends.wait(3.0)  # until both are running
        kinds = {
            name: measure(server.base_url, server.pid, path, body, options.count)
            for name, (path, body) in KINDS.items()
        }
        ends.set()
    for blocker in blockers:
        blocker.join()
    results.save(options.save, {"kinds": kinds, "count": options.count, "machine": describe_machine()}, options.results)
    for name, one in kinds.items():
        print(f"{name:<20}{one['status']:>6.0f}{one['microseconds']:>10.0f} us")
    return int(any(one["statuses"] != 1 for one in kinds.values()))


_LONG: Sequence[tuple[str, Any]] = (
    ("/v1/generate", {"prompt": "a", "n": 8, "num_inference_steps": 1000, "acceleration": "exact"}),
    ("/v1/infer", {"task": "vqa", "question": "count", "max_new_tokens": 4096, "temperature": 10.0}),
)


def _hold(url: str, ends: threading.Event, sent: tuple[str, Any]) -> None:
    """Keeps one task busy."""
    path, body = sent
    address = urlsplit(url)
    while not ends.is_set():
        connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=600)
        try:
            connection.request(
                "POST", path, json.dumps({**body, "timeout_s": 3600}), {"Content-Type": "application/json"}
            )
            connection.getresponse().read()
        except (OSError, http.client.HTTPException):
            return  # the server exited
        finally:
            connection.close()


if __name__ == "__main__":
    raise SystemExit(main())
