"""What the worker and the processes that open pictures get of the front end's environment."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from server.ipc.child_environment import plain_environment, worker_environment

KEY = "environment-of-children-1"  # as an API key: long enough, and found nowhere else
SECRETS = {
    "FLASHU_API_KEYS": f"somebody:{KEY}",
    "OPENAI_API_KEY": KEY,
    "ANTHROPIC_APIKEY": KEY,
    "AWS_ACCESS_KEY_ID": KEY,
    "AWS_SECRET_ACCESS_KEY": KEY,
    "AWS_SESSION_TOKEN": KEY,
    "AZURE_CLIENT_SECRET": KEY,
    "GITHUB_TOKEN": KEY,
    "PGPASSWORD": KEY,
    "MYSQL_PWD": KEY,
    "SSH_AUTH_SOCK": KEY,
    "SENTRY_DSN": KEY,
    "OTEL_EXPORTER_OTLP_HEADERS": f"authorization=Bearer {KEY}",
    "DATABASE_URL": f"postgres://user:{KEY}@db/name",
}
OF_THE_HUB = {"HF_TOKEN": KEY, "HUGGING_FACE_HUB_TOKEN": KEY, "HF_HOME": "/cache", "HTTPS_PROXY": f"http://u:{KEY}@p"}
OF_LIBRARIES = {
    "CUDA_VISIBLE_DEVICES": "0",
    "NVIDIA_DRIVER_CAPABILITIES": "compute",
    "PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True",
    "TOKENIZERS_PARALLELISM": "false",
    "OMP_NUM_THREADS": "2",
    "XDG_CACHE_HOME": "/cache",
    "SSL_CERT_FILE": "/ca.pem",
    "PWD": "/",
}
PLAIN = {"PATH": "/bin", "HOME": "/root", "LANG": "C.UTF-8", "LC_ALL": "C", "TMPDIR": "/tmp", "LD_LIBRARY_PATH": "/lib"}


def test_processes_that_open_pictures_get_what_is_listed() -> None:
    assert plain_environment({**SECRETS, **OF_THE_HUB, **OF_LIBRARIES, **PLAIN, "WHATEVER": "1"}) == PLAIN


def test_the_worker_gets_all_but_settings_and_secrets() -> None:
    settings = {"FLASHU_PORT": "1", "flashu_api_keys": KEY}
    given = worker_environment({**SECRETS, **settings, **OF_THE_HUB, **OF_LIBRARIES, **PLAIN})
    assert given == {**OF_THE_HUB, **OF_LIBRARIES, **PLAIN}


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_servers_processes_hold_no_key(toy: Any, serving: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    with serving(toy()) as live:
        live.wait_until_ready()
        assert live.client.get("/v1/models").status_code == 401  # the variable is the front end's
        live.wait_for(lambda: all(pool.pids for pool in live.images.pools))
        pids = [live.worker.pid, *(pid for pool in live.images.pools for pid in pool.pids)]
        for pid in pids:
            environment = Path(f"/proc/{pid}/environ").read_bytes()
            assert b"PATH=" in environment
            assert KEY.encode() not in environment
