"""How the server's processes start, what they write and where, and how they end; the engine inside is the small one."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

ROOT = Path(__file__).parents[2]
GENEROUS_S = 90.0
SERVE = (  # as `server.__main__`, with a worker of the tests' own
    "import sys\n"
    "from server.__main__ import end_on_signals\n"
    "end_on_signals()\n"
    "from server.app import run\n"
    "from server.settings import read_settings\n"
    "sys.exit(run(read_settings(port=0, hang_timeout_s=600), program=sys.argv[1:]))"
)
MODULE = [sys.executable, "-m", "server", "--port", "0"]


def environment(**changes: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1", **changes}


def command(engine: Any) -> list[str]:
    return [sys.executable, "-c", SERVE, *engine.program]


@contextlib.contextmanager
def started(arguments: list[str], **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(arguments, **{"env": environment(), **options})
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()


def url_of(log: Path, pattern: str = r"addresses=(http://[^,\s]+)") -> str:
    """Where a server listens, as its log tells once it is ready."""
    ends = time.monotonic() + GENEROUS_S
    while not (found := re.search(pattern, log.read_text())):
        assert time.monotonic() < ends, log.read_text()
        time.sleep(0.02)
    return found[1]


def post_generation(url: str, prompt: str = "a") -> int:
    return httpx.post(f"{url}/v1/generate", json={"prompt": prompt}, timeout=GENEROUS_S).status_code


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--acceleration", "warp"], "acceleration is 'warp'; use one of: exact"),
        (["/nowhere/at/all"], "there is no /nowhere/at/all"),
        (["--device", "nonsense"], "device is 'nonsense'; use auto, cpu, cuda"),
    ],
)
def test_a_model_that_can_never_load_ends_the_server(options: list[str], said: str, tmp_path: Path) -> None:
    ended = subprocess.run(
        [*MODULE, *options], env=environment(), cwd=tmp_path, capture_output=True, text=True, timeout=GENEROUS_S
    )
    assert ended.returncode == 3
    (line,) = [line for line in ended.stderr.splitlines() if " ERROR " in line]
    assert said in line
    assert "Traceback" not in ended.stderr
    assert ended.stdout == ""


def test_a_damaged_file_ends_the_server(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "manifest.json").write_text('{"format": 1, "files": {}}')
    ended = subprocess.run(
        [*MODULE, "model"], env=environment(), cwd=tmp_path, capture_output=True, text=True, timeout=GENEROUS_S
    )
    assert ended.returncode == 3
    assert f"{tmp_path / 'model' / 'manifest.json'} does not list config.json" in ended.stderr  # found from elsewhere


def test_a_hub_that_is_out_of_reach_is_tried_again(tmp_path: Path) -> None:
    nowhere = environment(
        HF_ENDPOINT="http://127.0.0.1:1", HF_HUB_OFFLINE="0", HF_HOME=str(tmp_path), FLASHU_MAX_RESTARTS="1"
    )
    ended = subprocess.run(
        [*MODULE, "nobody/has-this"], env=nowhere, cwd=tmp_path, capture_output=True, text=True, timeout=GENEROUS_S
    )
    assert ended.returncode == 3
    assert "2 times and was never ready" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_server_that_is_never_ready_ends_after_its_restarts(toy: Any) -> None:
    engine = toy()
    engine.hold("no-memory")
    ended = subprocess.run(
        command(engine), env=environment(FLASHU_MAX_RESTARTS="1"), capture_output=True, text=True, timeout=GENEROUS_S
    )
    assert ended.returncode == 3
    assert len(engine.logged("no memory")) == 2
    assert "ended (1) 2 times and was never ready" in ended.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_a_signal_at_any_moment_of_the_start_ends_it(number: signal.Signals, toy: Any, tmp_path: Path) -> None:
    """At twelve moments of a second and a half, which is longer than all of it takes. A SIGINT that comes before the
    first line of ours is Python's: where it interrupts a callback of the interpreter's own start, it is lost."""
    engine = toy()
    program = SERVE.replace("end_on_signals()\nfrom", "end_on_signals()\nprint('ours', flush=True)\nfrom")
    for moment in range(12):
        arguments = [sys.executable, "-c", program, *engine.program]
        with started(arguments, stderr=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
            if number == signal.SIGINT:
                assert process.stdout is not None
                assert process.stdout.readline() == b"ours\n"
            time.sleep(moment * 0.12)
            process.send_signal(number)
            # Before the first line of ours has run, the system obeys.
            assert process.wait(GENEROUS_S) in (0, -number, 1, 130), moment


def test_a_signal_between_the_own_handler_and_uvicorns_is_obeyed(toy: Any) -> None:
    program = (
        "import os, signal, sys\n"
        "import server.app\n"
        "from server.settings import Settings\n"
        "class Early(server.app._Server):\n"
        "    def run(self, sockets=None):\n"
        "        os.kill(os.getpid(), signal.SIGTERM)\n"
        "        super().run(sockets)\n"
        "server.app._Server = Early\n"
        "sys.exit(server.app.run(Settings(port=0), program=sys.argv[1:]))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program, *toy().program], env=environment(), capture_output=True, timeout=GENEROUS_S
    )
    assert ended.returncode == 0


def test_a_log_that_nobody_reads_stops_neither_requests_nor_the_end(toy: Any, tmp_path: Path) -> None:
    read, write = os.pipe()
    written = tmp_path / "out"
    try:
        with written.open("w") as out, started(command(toy()), stdout=out, stderr=write) as process:
            url = url_of(written, r"ready on (http://\S+)")
            with httpx.Client(base_url=url, timeout=GENEROUS_S) as client:
                for _ in range(1500):  # each a line of some 200 bytes, and a pipe holds 64 KiB
                    assert client.get("/nowhere").status_code == 404
            assert post_generation(url) == 200
            process.terminate()
            assert process.wait(GENEROUS_S) == 0
    finally:
        os.close(read)
        os.close(write)


def test_the_line_of_readiness_is_written_at_once(toy: Any) -> None:
    """Or a line of the log gets into it, where both go to one pipe and Python does not buffer."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)  # keeps what was written at once together
    ours.settimeout(GENEROUS_S)
    with ours, theirs, started(command(toy()), stdout=theirs, stderr=subprocess.DEVNULL):
        assert re.fullmatch(rb"toy is ready on http://127\.0\.0\.1:\d+\n", ours.recv(4096))


def test_a_worker_that_writes_without_end_is_not_held_up(toy: Any, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("w") as file, started(command(toy()), stderr=file, stdout=subprocess.DEVNULL) as process:
        url = url_of(log)
        assert post_generation(url, "chatter") == 200
        process.terminate()
        assert process.wait(GENEROUS_S) == 0
    assert log.read_text().count("chatter of a library") == 4000


@pytest.mark.parametrize("closed", ["2>&-", "1>&- 2>&-", "0<&- 1>&- 2>&-"])
def test_closed_descriptors_stop_neither_process(closed: str, toy: Any, tmp_path: Path) -> None:
    port = _free_port()
    served = [sys.executable, "-c", SERVE.replace("port=0", f"port={port}"), *toy().program]
    with started(["sh", "-c", f'exec "$@" {closed}', "sh", *served], cwd=tmp_path) as process:
        url = f"http://127.0.0.1:{port}"
        _until_ready(url)
        assert post_generation(url) == 200
        assert post_generation(url, "SIGKILL") == 503
        _until_ready(url)
        assert post_generation(url) == 200
        process.terminate()
        assert process.wait(GENEROUS_S) == 0


def test_a_deleted_working_folder_stops_no_worker(toy: Any, tmp_path: Path) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    log = tmp_path / "log"
    with log.open("w") as file, started(command(toy()), cwd=folder, stderr=file, stdout=file) as process:
        url = url_of(log)
        folder.rmdir()
        assert post_generation(url, "SIGKILL") == 503
        _until_ready(url)
        assert post_generation(url) == 200
        process.terminate()
        assert process.wait(GENEROUS_S) == 0


def test_every_line_is_json_on_one_stream(toy: Any, tmp_path: Path) -> None:
    """Those of both processes, of libraries and of uvicorn, of a crash in C, and what nobody caught."""
    log = tmp_path / "log"
    out = tmp_path / "out"
    json_lines = environment(FLASHU_LOG_FORMAT="json", FLASHU_LOG_LEVEL="debug", PYTHONWARNINGS="default")
    with (
        log.open("w") as file,
        out.open("w") as printed,
        started(command(toy()), env=json_lines, stderr=file, stdout=printed) as process,
    ):
        url = url_of(log, r'"addresses": "(http://[^",]+)')
        for prompt, status in (("a", 200), ("chatter", 200), ("warn", 200), ("explode", 503), ("SIGSEGV", 503)):
            _until_ready(url)
            assert post_generation(url, prompt) == status
        _until_ready(url)
        process.terminate()
        assert process.wait(GENEROUS_S) == 0
    lines = log.read_text().splitlines()
    events = [json.loads(line) for line in lines]
    assert all({"time", "level", "logger", "message"} <= event.keys() for event in events)
    messages = [event["message"] for event in events]
    assert "toy is ready" in messages
    assert any("Segmentation fault" in message for message in messages)
    assert any("UserWarning: a warning" in message for message in messages)
    assert messages.count("chatter of a library") == 4000
    assert {"uvicorn.error", "flashu.request", "flashu.engine", "flashu.worker"} <= {
        event["logger"] for event in events
    }
    assert out.read_text() == ""


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def _until_ready(url: str) -> None:
    ends = time.monotonic() + GENEROUS_S
    while True:
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(f"{url}/readyz", timeout=GENEROUS_S).status_code == 200:
                return
        assert time.monotonic() < ends
        time.sleep(0.05)
