"""The containers' scripts, run as they run there: the entrypoint with a real server, the health check, and Grafana's
password."""

from __future__ import annotations

import contextlib
import http.server
import os
import secrets
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from server.settings import PREFIX

ROOT = Path(__file__).parents[2]
TIMEOUT_S = 90.0


def run(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False, **options)


def bare(**changes: str) -> dict[str, str]:
    """This process's environment without any setting of a server."""
    return {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)} | changes


@pytest.fixture(scope="session")
def root() -> Path:
    """The project's folder."""
    return ROOT


@dataclass(frozen=True)
class Contained:
    """A server that the entrypoint started."""

    process: subprocess.Popen[str]
    port: int
    key: str
    secrets: Path


@pytest.fixture(scope="module")
def contained(tmp_path_factory: pytest.TempPathFactory, root: Path) -> Iterator[Contained]:
    """The embedded model behind the entrypoint, ready, with secrets as an engine mounts them."""
    folder = tmp_path_factory.mktemp("secrets")
    key = secrets.token_urlsafe()
    (folder / "flashu_api_keys").write_text(f"team:{key}\n")
    (folder / "hf_token").write_text("hf_of_no_use")
    environment = bare(
        PATH=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        PYTHONPATH=str(root),
        PYTHONUNBUFFERED="1",
        OMP_NUM_THREADS="1",
        HF_HUB_OFFLINE="1",
        SECRETS_DIR=str(folder),
        FLASHU_DTYPE="float32",
    )
    environment.pop("HF_TOKEN", None)
    process = subprocess.Popen(
        [str(root / "docker" / "entrypoint.sh"), "--port", "0"],
        env=environment,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    timer = threading.Timer(TIMEOUT_S, process.kill)
    timer.start()
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        port = int(line.rstrip().rsplit(":", 1)[1])
        yield Contained(process, port, key, folder)
    finally:
        timer.cancel()
        process.kill()
        process.wait()
        process.stdout.close()  # type: ignore[union-attr]


def healthy(root: Path, port: int, host: str = "0.0.0.0") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-I", "-S", str(root / "docker" / "healthcheck.py")]
    return run(command, env=bare(FLASHU_HOST=host, FLASHU_PORT=str(port)))


def test_the_entrypoint_becomes_the_server(contained: Contained) -> None:
    command = Path(f"/proc/{contained.process.pid}/cmdline").read_text().split("\0")
    assert command[1:5] == ["-m", "server", "--port", "0"]


def test_the_entrypoint_hands_over_secrets_as_files(contained: Contained) -> None:
    environment = Path(f"/proc/{contained.process.pid}/environ").read_text().split("\0")
    assert f"FLASHU_API_KEY_FILE={contained.secrets}/flashu_api_keys" in environment
    assert f"HF_TOKEN_PATH={contained.secrets}/hf_token" in environment
    assert contained.key not in "".join(environment)
    url = f"http://127.0.0.1:{contained.port}/v1/models"
    assert httpx.get(url).status_code == 401
    assert httpx.get(url, headers={"Authorization": f"Bearer {contained.key}"}).status_code == 200


def test_the_health_check_is_content_with_a_ready_server(contained: Contained, root: Path) -> None:
    checked = healthy(root, contained.port)
    assert (checked.returncode, checked.stdout) == (0, "/readyz responded with 200\n")


@contextlib.contextmanager
def answering(status: int) -> Iterator[int]:
    """A server that answers everything with one status; its port."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(status if self.path == "/readyz" else 404)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


def test_the_health_check_fails_while_the_server_is_not_ready(root: Path) -> None:
    with answering(503) as port:
        checked = healthy(root, port, host="127.0.0.1")
    assert (checked.returncode, checked.stdout) == (1, "/readyz responded with 503\n")


def test_the_health_check_fails_where_nobody_listens(root: Path) -> None:
    with answering(503) as port:
        pass
    checked = healthy(root, port)
    assert checked.returncode == 1
    assert checked.stderr == f"no response from 127.0.0.1 port {port}: ConnectionRefusedError\n"


def test_the_entrypoint_leaves_alone_what_is_said_already(contained: Contained, root: Path, tmp_path: Path) -> None:
    """A key file that is named wins over the mounted one: here it is missing, and the server says so and ends."""
    missing = tmp_path / "no_such_file"
    ended = run(
        [str(root / "docker" / "entrypoint.sh"), "--port", "0"],
        env=bare(
            PATH=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            PYTHONPATH=str(root),
            SECRETS_DIR=str(contained.secrets),
            FLASHU_API_KEY_FILE=str(missing),
        ),
    )
    assert ended.returncode != 0
    assert "api_key_file cannot be read" in ended.stderr


def test_sigterm_ends_it_with_status_0(contained: Contained) -> None:
    """Last of those with a running server, for it stops it."""
    contained.process.send_signal(signal.SIGTERM)
    assert contained.process.wait(TIMEOUT_S) == 0


def grafana(root: Path, data: Path, mounted: Path) -> dict[str, str]:
    """The environment that Grafana would start with."""
    environment = bare(GF_PATHS_DATA=str(data), SECRETS_DIR=str(mounted), GRAFANA="env")
    shown = run(["sh", str(root / "docker" / "grafana.sh")], env=environment)
    assert shown.returncode == 0
    return dict(line.split("=", 1) for line in shown.stdout.splitlines() if line.startswith("GF_"))


def test_grafana_gets_a_password_of_its_own_once(root: Path, tmp_path: Path) -> None:
    file = tmp_path / "admin_password"
    assert grafana(root, tmp_path, tmp_path / "none")["GF_SECURITY_ADMIN_PASSWORD__FILE"] == str(file)
    made = file.read_text().strip()
    assert len(made) == 32
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    grafana(root, tmp_path, tmp_path / "none")
    assert file.read_text().strip() == made


def test_grafana_prefers_the_secret(root: Path, tmp_path: Path) -> None:
    (tmp_path / "grafana_admin_password").write_text("given")
    data = tmp_path / "data"
    data.mkdir()
    shown = grafana(root, data, tmp_path)
    assert shown["GF_SECURITY_ADMIN_PASSWORD__FILE"] == str(tmp_path / "grafana_admin_password")
    assert list(data.iterdir()) == []
