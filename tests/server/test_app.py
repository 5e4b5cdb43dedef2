"""The whole server with the real model as an operator runs it: what it prints when it is ready, how it ends, what it
leaves behind, and its command line."""

from __future__ import annotations

import base64
import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import typer
from typer.testing import CliRunner

from load_tests.acceptance.hostile import png
from server.command import serve

# The two ways to start it.
COMMAND = (sys.executable, "-c", "import sys; sys.argv[0] = 'flashu'; from flashu_core.cli.main import main; main()")
MODULE = (sys.executable, "-m", "server")
GENEROUS_S = 90.0
DOT = base64.b64encode(png(8, 8, bytes(8 * 25))).decode()


@dataclass(frozen=True)
class Served:
    process: subprocess.Popen[str]
    url: str
    log: Path

    @property
    def worker(self) -> int:
        """The worker's process."""
        return int(re.findall(r"worker started, pid (\d+)", self.log.read_text())[-1])

    def image_processes(self) -> set[int]:
        """Those that decode and encode, when all have come up."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        ends = time.monotonic() + GENEROUS_S
        while True:
            pids = {int(pid) for pid in children.read_text().split()} - {self.worker}
            if len(pids) == 3 and all(b"server.images.process" in _command(pid) for pid in pids):
                return pids
            assert time.monotonic() < ends
            time.sleep(0.02)

    def post_generation(self, num_inference_steps: int) -> httpx.Response:
        body = {"prompt": "a red circle", "num_inference_steps": num_inference_steps}
        return httpx.post(f"{self.url}/v1/generate", json=body, timeout=GENEROUS_S)

    def post_question(self, image: str) -> httpx.Response:
        body = {"question": "what?", "image": image, "max_new_tokens": 1}
        return httpx.post(f"{self.url}/v1/vqa", json=body, timeout=GENEROUS_S)

    def stream(self, num_inference_steps: int) -> list[str]:
        """The names of a stream's events, to its end."""
        body = {"prompt": "a red circle", "num_inference_steps": num_inference_steps, "stream": True}
        with httpx.stream("POST", f"{self.url}/v1/generate", json=body, timeout=GENEROUS_S) as response:
            assert response.status_code == 200
            return [line.removeprefix("event: ") for line in response.iter_lines() if line.startswith("event: ")]

    def begin(self, pool: ThreadPoolExecutor, count: int, num_inference_steps: int) -> list[Future[httpx.Response]]:
        """Requests that all are inside when it returns."""
        futures = [pool.submit(self.post_generation, num_inference_steps) for _ in range(count)]
        self.wait_until_active(count)
        return futures

    def wait_until_active(self, count: int) -> None:
        with httpx.Client(base_url=self.url, timeout=GENEROUS_S) as client:
            ends = time.monotonic() + GENEROUS_S
            while client.get("/health").json().get("running") != count:
                assert time.monotonic() < ends
                time.sleep(0.02)


def _command(pid: int) -> bytes:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


@contextlib.contextmanager
def serving(folder: Path, *options: str, program: tuple[str, ...] = MODULE) -> Iterator[Served]:
    # On a busy machine all is predicted to take long; nobody here is to be refused for that.
    command = [*program, "--port", "0", "--dtype", "float32", "--max-queue-seconds", "3600", *options]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    path = folder / "log"
    with path.open("w") as log:
        process = subprocess.Popen(
            command,
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            start_new_session=True,
            env={**environment, "PYTHONPATH": str(Path(__file__).parents[2])},
        )
        assert process.stdout is not None
        with process.stdout as printed:
            try:
                line = printed.readline()
                ready = re.fullmatch(r"shapes-64 is ready on (http://127\.0\.0\.1:\d+)\n", line)
                assert ready, line + path.read_text()
                yield Served(process, ready[1], path)
            finally:
                process.kill()
                process.wait()


def gone(pid: int) -> bool:
    """Whether a process that is not our child ends soon."""
    ends = time.monotonic() + 30
    while time.monotonic() < ends:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        stat = Path(f"/proc/{pid}/stat")
        with contextlib.suppress(OSError):
            if stat.read_text().rsplit(")", 1)[1].split()[0] == "Z":  # nobody may be there to reap it
                return True
        time.sleep(0.02)
    return False


def test_sigterm_to_all_processes_lets_what_runs_end(tmp_path: Path) -> None:
    with serving(tmp_path, program=(*COMMAND, "serve")) as served, ThreadPoolExecutor(8) as pool:
        streams = [pool.submit(served.stream, 60) for _ in range(3)]
        running, worker = [pool.submit(served.post_generation, 60) for _ in range(5)], served.worker
        served.wait_until_active(8)
        os.killpg(served.process.pid, signal.SIGTERM)  # as a service manager does
        _until_draining(served)
        for path in ("/readyz", "/v1/generate"):  # a new request gets an error, or no connection
            with contextlib.suppress(httpx.TransportError):
                response = httpx.request(
                    "GET" if path == "/readyz" else "POST", served.url + path, json={"prompt": "a"}
                )
                assert (response.status_code, response.json()["error"]["code"]) == (503, "draining")
        assert [future.result().status_code for future in running] == [200] * 5
        assert [future.result()[-1] for future in streams] == ["done"] * 3
        assert served.process.wait(GENEROUS_S) == 0
        assert gone(worker)


def test_sigint_ends_an_idle_server(tmp_path: Path) -> None:
    with serving(tmp_path) as served:
        worker = served.worker
        os.killpg(served.process.pid, signal.SIGINT)  # as a terminal does
        assert served.process.wait(GENEROUS_S) == 0
        assert gone(worker)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_a_second_signal_forces(tmp_path: Path, number: signal.Signals) -> None:
    with serving(tmp_path, "--shutdown-timeout", "3600") as served, ThreadPoolExecutor() as pool:
        running, worker = served.begin(pool, 1, 1000), served.worker
        served.process.send_signal(number)
        _until_draining(served)
        served.process.send_signal(number)
        assert served.process.wait(GENEROUS_S) == 0
        assert gone(worker)
        assert running[0].exception() is not None or running[0].result().status_code >= 500


def _until_draining(served: Served) -> None:
    ends = time.monotonic() + GENEROUS_S
    while "Shutting down" not in served.log.read_text():
        assert time.monotonic() < ends
        time.sleep(0.02)


def test_the_time_to_end_is_limited(tmp_path: Path) -> None:
    with serving(tmp_path, "--shutdown-timeout", "1") as served, ThreadPoolExecutor() as pool:
        running, worker = served.begin(pool, 1, 1000), served.worker
        served.process.send_signal(signal.SIGTERM)
        assert served.process.wait(GENEROUS_S) == 0
        assert gone(worker)
        assert running[0].result().status_code == 503
        assert running[0].result().json()["error"]["code"] == "draining"


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_end_waits_for_no_picture(tmp_path: Path) -> None:
    """A decoder that never comes back is ended with the server, and its client gets an error."""
    with serving(tmp_path, "--shutdown-timeout", "2") as served, ThreadPoolExecutor() as pool:
        processes = served.image_processes()
        for pid in processes:
            os.kill(pid, signal.SIGSTOP)
        requested = [pool.submit(served.post_question, DOT) for _ in range(3)]
        time.sleep(0.5)  # for two to be begun and one to wait
        begun = time.monotonic()
        served.process.send_signal(signal.SIGTERM)
        assert served.process.wait(GENEROUS_S) == 0
        assert time.monotonic() - begun < 30  # it would be image_decode_timeout_s for each
        assert all(gone(pid) for pid in processes)
        for answer in requested:
            assert (answer.result().status_code, answer.result().json()["error"]["code"]) == (503, "draining")


@pytest.mark.parametrize("stopped", [False, True])
def test_no_orphan_when_the_front_end_is_killed(tmp_path: Path, stopped: bool) -> None:
    with serving(tmp_path) as served, ThreadPoolExecutor() as pool:
        running, worker = served.begin(pool, 2, 1000), served.worker
        pids = {worker}
        if stopped:
            if sys.platform != "linux":
                pytest.skip("a stopped process ends with its parent on Linux only")
            pids |= served.image_processes()
            for pid in pids:
                os.kill(pid, signal.SIGSTOP)
        served.process.kill()
        served.process.wait()
        assert all(gone(pid) for pid in pids)
        assert all(future.exception() is not None for future in running)


def test_a_killed_worker_is_replaced_and_generates_the_same(tmp_path: Path) -> None:
    with serving(tmp_path) as served, ThreadPoolExecutor() as pool:
        body = {"prompt": "a red circle", "num_inference_steps": 5, "seed": 1, "response_format": "binary"}
        first = httpx.post(f"{served.url}/v1/generate", json=body, timeout=GENEROUS_S)
        running, worker = served.begin(pool, 2, 1000), served.worker
        os.kill(worker, signal.SIGKILL)
        for future in running:
            assert future.result().status_code == 503
            assert future.result().json()["error"]["code"] == "worker_lost"
        ends = time.monotonic() + GENEROUS_S
        while httpx.get(f"{served.url}/readyz").status_code != 200:
            assert time.monotonic() < ends
            time.sleep(0.05)
        assert served.worker != worker
        again = httpx.post(f"{served.url}/v1/generate", json=body, timeout=GENEROUS_S)
        assert (first.status_code, again.content == first.content) == (200, True)
        served.process.terminate()
        assert served.process.wait(GENEROUS_S) == 0


def test_a_pause_of_everything_is_no_hang(tmp_path: Path) -> None:
    with serving(tmp_path, "--hang-timeout", "4") as served, ThreadPoolExecutor() as pool:
        running, worker = served.begin(pool, 1, 300), served.worker  # so many that it is seen inside
        os.killpg(served.process.pid, signal.SIGSTOP)  # as Ctrl-Z does
        time.sleep(6)
        os.killpg(served.process.pid, signal.SIGCONT)
        assert running[0].result().status_code == 200
        assert served.worker == worker


@pytest.mark.parametrize(
    ("options", "name"),
    [
        (["--port", "99999"], "port"),
        (["--max-batch", "0"], "max_batch"),
        (["--dtype", "x"], "dtype"),
        (["--hang-timeout", "0"], "hang_timeout_s"),
        (["--load-timeout", "nan"], "load_timeout_s"),
    ],
)
def test_bad_options_are_named(options: list[str], name: str) -> None:
    app = typer.Typer()
    app.command()(serve)
    result = CliRunner().invoke(app, options)
    assert result.exit_code == 2
    assert name in result.output
