"""Locust with this file, started as users do: in a process of its own, because gevent replaces Python's sockets."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from load_tests.bench.workload import Wishes, Workload

ROOT = Path(__file__).parents[2]
pytestmark = [
    pytest.mark.ops,
    pytest.mark.skipif(
        importlib.util.find_spec("locust") is None and os.environ.get("CHECK_OPS") != "1",
        reason="pip install 'flashu-server[locust]'",
    ),
]


async def test_two_users(
    serving: Callable[..., AbstractAsyncContextManager[str]],
    response: Callable[..., bytes],
    answer: Callable[..., bytes],
    tmp_path: Path,
) -> None:
    received: list[tuple[bytes, bytes]] = []

    async def handler(head: bytes, body: bytes) -> bytes:
        received.append((head, body))
        if b"/v1/generate" in head:
            return response(503, b"{}", "Retry-After: 1")
        return response(200, answer("vqa"))

    report = tmp_path / "report"
    async with serving(handler) as url:
        command = [sys.executable, "-m", "locust", "-f", str(ROOT / "load_tests" / "locustfile.py"), "--host", url]
        command += ["--headless", "-u", "2", "-r", "2", "-t", "5s", "--json-file", str(report), "--skip-log"]
        command += ["--workload-seed", "3", "--num-inference-steps", "9"]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]), "LOAD_TESTS_API_KEY": "k"}
        ended = await asyncio.to_thread(
            subprocess.run, command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120
        )
    assert received, ended.stderr
    generated = sum(b"/v1/generate" in head for head, _ in received)
    assert ended.returncode == (1 if generated else 0), ended.stderr  # locust's own status: something failed
    statuses = {one["name"]: one for one in json.loads(report.with_suffix(".json").read_text())}
    assert sum(one["num_requests"] for one in statuses.values()) >= len(received) - 2
    assert all(b"bearer k" in head.lower() for head, _ in received)
    workload = Workload(3, Wishes(num_inference_steps=9))
    expected = {workload.message(task, index).body for task in ("generate", "vqa") for index in range(50)}  # type: ignore[arg-type]
    assert {body for _, body in received} <= expected
    assert len({body for _, body in received}) == len(received)
