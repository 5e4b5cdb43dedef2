"""The process: what it prints when it is ready, how it ends, and its command line."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
import typer
from typer.testing import CliRunner

from server.command import serve

# The real `run`, with the small engine of these tests in place of the model.
SCRIPT = """
import importlib.util, sys
import server.app
from server.settings import Settings
spec = importlib.util.spec_from_file_location("small", sys.argv[1])
small = importlib.util.module_from_spec(spec)
sys.modules["small"] = small
spec.loader.exec_module(small)
server.app.Engine = type("Engine", (), {"load": staticmethod(lambda source, config: small.ToyEngine(step_s=0.01))})
server.app.run(Settings(port=0, shutdown_timeout_s=10))
"""


@pytest.fixture
def process(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    command = [sys.executable, "-c", SCRIPT, str(Path(__file__).with_name("conftest.py"))]
    root = Path(__file__).parents[2]
    log = (tmp_path / "log").open("w+")
    child = subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, stderr=log, text=True)
    assert child.stdout is not None
    try:
        line = child.stdout.readline()
        ready = re.fullmatch(r"toy is ready on (http://127\.0\.0\.1:\d+)\n", line)
        assert ready, line + Path(log.name).read_text()
        yield child, ready[1]
    finally:
        child.kill()
        child.wait()
        child.stdout.close()
        log.close()


def test_sigterm_lets_what_runs_end(process: tuple[subprocess.Popen[str], str]) -> None:
    child, url = process
    with httpx.Client(base_url=url, timeout=10) as client, ThreadPoolExecutor() as pool:
        body = {"prompt": "a", "num_inference_steps": 60}
        running = [pool.submit(httpx.post, f"{url}/v1/generate", json=body, timeout=10) for _ in range(3)]
        ends = time.monotonic() + 5
        while client.get("/health").json().get("running") != 3:
            assert time.monotonic() < ends
        child.send_signal(signal.SIGTERM)
        assert [future.result().status_code for future in running] == [200, 200, 200]
    assert child.wait(10) == 0


def test_sigint_ends_an_idle_server(process: tuple[subprocess.Popen[str], str]) -> None:
    child, _ = process
    child.send_signal(signal.SIGINT)
    assert child.wait(10) == 0


@pytest.mark.parametrize(
    ("options", "name"),
    [(["--port", "99999"], "port"), (["--max-batch", "0"], "max_batch"), (["--dtype", "x"], "dtype")],
)
def test_bad_options_are_named(options: list[str], name: str) -> None:
    app = typer.Typer()
    app.command()(serve)
    result = CliRunner().invoke(app, options)
    assert result.exit_code == 2
    assert name in result.output
