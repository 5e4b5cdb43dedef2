"""Replicas on Ray Serve, as real processes on this machine: both serve, one may die, and load starts another one."""

from __future__ import annotations

import contextlib
import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "ray"
GENEROUS_S = 120.0
SMALL = {"gpus": 0, "cpus": 1, "target_requests": 4, "upscale_delay_s": 1, "downscale_delay_s": 600}
BODY = {"prompt": "a red circle", "seed": 1, "num_inference_steps": 9}

if os.environ.get("CHECK_OPS") != "1":
    pytest.importorskip("ray", reason="pip install 'flashu-server[ray]'")
# Ray's own modules use what their libraries deprecate.
pytestmark = [pytest.mark.ops, pytest.mark.filterwarnings("ignore::DeprecationWarning")]


@dataclass
class Cluster:
    url: str
    log: Path
    config: Path
    process: subprocess.Popen[bytes]

    def configure(self, *, settings: Mapping[str, Any] = {}, **options: Any) -> None:
        args = {**SMALL, "settings": {"dtype": "float32", **settings}, **options}
        self.config.write_text(yaml.safe_dump({"applications": [{"args": args}]}))

    def wait_for_deployment(self, number: int) -> None:
        said = f"ready on {self.url}, deployed {number}\n"
        self.wait_for(lambda: said in self.log.read_text() or self.process.poll() is not None)
        assert self.process.poll() is None, self.log.read_text()

    def replicas(self) -> dict[str, float]:
        """Pictures that each replica has generated, by its name."""
        text = httpx.get(f"{self.url}/metrics", timeout=GENEROUS_S).text
        names = re.findall(r'flashu_build_info\{replica="(\w+)"', text)
        generated = re.findall(r'flashu_queue_time_seconds_count\{replica="(\w+)",task="generate"\} ([\d.]+)', text)
        return {**dict.fromkeys(names, 0.0), **{name: float(count) for name, count in generated}}

    def pids(self) -> list[int]:
        """The replicas' processes, of this cluster only."""
        found = []
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if entry.name.isdigit() and b"ray::ServeReplica:flashu:Replica" in (entry / "cmdline").read_bytes():
                    environment = (entry / "environ").read_bytes()
                    if str(self.log).encode() in environment:
                        found.append(int(entry.name))
        return found

    def wait_for(self, condition: Any) -> None:
        ends = time.monotonic() + GENEROUS_S
        while not condition():
            assert time.monotonic() < ends, self.log.read_text()
            time.sleep(0.2)


def free_port() -> int:
    """Below the range that the system, and so Ray's own processes, takes ports from."""
    while True:
        port = random.randrange(20000, 30000)
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port


@contextlib.contextmanager
def cluster(folder: Path, **options: Any) -> Iterator[Cluster]:
    port, log, config = free_port(), folder / "log", folder / "config.yaml"
    with log.open("w") as out:
        process = subprocess.Popen(
            [sys.executable, str(FOLDER / "local.py"), str(config), "--port", str(port)],
            stdout=out,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONPATH": str(ROOT), "CLUSTER_OF_TEST": str(log), "HF_HUB_OFFLINE": "1"},
        )
        made = Cluster(f"http://127.0.0.1:{port}", log, config, process)
        try:
            made.configure(**options)
            made.wait_for_deployment(1)
            yield made
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(GENEROUS_S)
            finally:
                process.kill()
                process.wait()
    assert made.pids() == []


@dataclass
class Load:
    """Clients that each send one request after another; every outcome is kept."""

    url: str
    clients: int
    outcomes: Counter[str] = field(default_factory=Counter)
    _ended: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Load:
        self._threads = [threading.Thread(target=self._run) for _ in range(self.clients)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        with httpx.Client(timeout=GENEROUS_S) as client:
            while not self._ended.is_set():
                try:
                    outcome = str(client.post(f"{self.url}/v1/generate", json=BODY).status_code)
                except httpx.HTTPError as error:
                    outcome = type(error).__name__
                self.outcomes[outcome] += 1


def test_two_replicas_serve_and_one_may_die(tmp_path: Path) -> None:
    with cluster(tmp_path, min_replicas=2, max_replicas=2) as made:
        pictures = {httpx.post(f"{made.url}/v1/generate", json=BODY, timeout=GENEROUS_S).text[-9000:] for _ in range(3)}
        assert len({re.search('"b64_json":"([^"]+)"', text)[1] for text in pictures}) == 1  # type: ignore[index]
        clients = 6
        with Load(made.url, clients) as load:
            made.wait_for(lambda: len(found := made.replicas()) == 2 and min(found.values()) >= 2)
            before = set(made.replicas())
            done = load.outcomes["200"]
            os.kill(made.pids()[0], signal.SIGKILL)
            made.wait_for(lambda: load.outcomes["200"] >= done + 4 * clients)
            lost = {outcome: count for outcome, count in load.outcomes.items() if outcome not in ("200", "503")}
            assert sum(lost.values()) <= clients, lost  # those that the dead one worked on, at most
            made.wait_for(lambda: len(set(made.replicas()) - before) == 1)  # another one has taken its place
        assert load.outcomes["200"] > 0


def test_load_starts_another_replica(tmp_path: Path) -> None:
    with cluster(tmp_path, min_replicas=1, max_replicas=2, target_requests=1) as made:
        assert len(made.replicas()) == 1
        with Load(made.url, 6) as load:
            made.wait_for(lambda: len(found := made.replicas()) == 2 and min(found.values()) >= 1)
        assert set(load.outcomes) <= {"200", "503"}


def test_a_new_setting_is_rolled_out_without_losing_a_request(tmp_path: Path) -> None:
    with cluster(tmp_path, min_replicas=2, max_replicas=2) as made:
        before = set(made.replicas())
        with Load(made.url, 2) as load:
            made.configure(min_replicas=2, max_replicas=2, settings={"acceleration": "exact"})
            made.process.send_signal(signal.SIGHUP)
            made.wait_for_deployment(2)
            done = load.outcomes["200"]
            made.wait_for(lambda: load.outcomes["200"] > done + 4)
        assert set(load.outcomes) == {"200"}
        assert not before & set(made.replicas())
        answer = httpx.post(f"{made.url}/v1/generate", json=BODY, timeout=GENEROUS_S).json()
        assert answer["acceleration"] == "exact"


def test_the_config_is_what_the_application_takes() -> None:
    sys.path.insert(0, str(FOLDER))
    try:
        from flashu_serve import Options
    finally:
        sys.path.remove(str(FOLDER))
    from ray.serve.schema import ServeDeploySchema

    found = yaml.safe_load((FOLDER / "serve.yaml").read_text())
    schema = ServeDeploySchema.model_validate(found)
    (one,) = schema.applications
    options = Options.model_validate(one.args)
    assert (one.import_path, options.gpus, options.max_replicas) == ("flashu_serve:application", 1, 8)
    from server.settings import Settings

    Settings(**options.settings)
    with pytest.raises(ValueError, match="replica"):
        Options.model_validate({"replicas": 2})


def test_expositions_are_merged_with_types_and_a_label() -> None:
    sys.path.insert(0, str(FOLDER))
    try:
        from flashu_serve import merged
    finally:
        sys.path.remove(str(FOLDER))
    text = '# HELP a_total A.\n# TYPE a_total counter\na_total{{kind="x"}} {}\n'
    whole = merged([("one", text.format(1)), ("two", text.format(2))]).decode()
    assert 'a_total{kind="x",replica="one"} 1.0' in whole
    assert 'a_total{kind="x",replica="two"} 2.0' in whole
    assert whole.count("# TYPE a_total counter") == 1
