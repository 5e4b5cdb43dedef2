"""End to end: a real server under load, a real Prometheus that scrapes it with the shipped rules, a real Alertmanager
that calls a webhook, and data for every query of the dashboard.

The rules are the checked-in ones with every duration divided by `FASTER`, so that minutes become seconds. Thresholds
are unchanged.
"""

from __future__ import annotations

import base64
import contextlib
import io
import json
import math
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from PIL import Image

from deploy.grafana.panels import filled_in
from deploy.grafana.pictures import Span, plot
from deploy.grafana.rows import ROWS

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy/prometheus"
PROGRAMS = ("prometheus", "prometheus-alertmanager")
FASTER = 30
TIMEOUT_S = 120.0
CLIENTS = 192  # as many that a request waits for as long as admission lets it, on fast machines too
# Queries that have no data here, and why.
EMPTY = {
    "instance:flashu_accelerator_memory_unexplained:bytes": "torch's allocator reports nothing on a CPU",
    "flashu_gpu_utilization_ratio": "there is no GPU",
}


def faster(rules: Mapping[str, Any]) -> dict[str, Any]:
    """The same rules, in 1/`FASTER` of the time: ranges in brackets, and how long an alert must hold."""

    def seconds(minutes: str) -> str:
        return f"{int(minutes) * 60 // FASTER}s"

    text = yaml.safe_dump(dict(rules), sort_keys=False, width=1000)
    text = re.sub(r"\[(\d+)m\]", lambda found: f"[{seconds(found[1])}]", text)
    return yaml.safe_load(re.sub(r"for: (\d+)m$", lambda found: f"for: {seconds(found[1])}", text, flags=re.MULTILINE))


def wait_for(condition: Callable[[], Any], what: str, seconds: float = TIMEOUT_S) -> Any:
    ends = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < ends, f"{what}: it did not happen in time"
        time.sleep(0.1)
    return found


@contextlib.contextmanager
def running(command: Sequence[str], log: Path, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process of ours, which ends with the block."""
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, stdout=out, stderr=subprocess.STDOUT, cwd=ROOT, env={**os.environ, **environment}
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@dataclass
class Hook:
    """Alerts that Alertmanager sent to its webhook."""

    alerts: list[dict[str, Any]] = field(default_factory=list)

    def received(self, alert: str, status: str) -> bool:
        return any(one["labels"]["alertname"] == alert and one["status"] == status for one in list(self.alerts))

    @contextlib.contextmanager
    def listening(self) -> Iterator[str]:
        alerts = self.alerts

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                alerts.extend(body["alerts"])
                self.send_response(200)
                self.end_headers()

            def log_message(self, *words: Any) -> None:
                pass

        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            try:
                yield f"http://127.0.0.1:{server.server_address[1]}/"
            finally:
                server.shutdown()
                thread.join()


def configure(folder: Path, *, target: int, alertmanager: int, hook: str) -> None:
    """The checked-in configuration with this test's addresses, and shorter times."""
    config = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"] = [f"127.0.0.1:{alertmanager}"]
    (job,) = config["scrape_configs"]
    job["scrape_timeout"] = "1s"
    job["static_configs"][0]["targets"] = [f"127.0.0.1:{target}"]
    (folder / "rules").mkdir()
    for name in config["rule_files"]:
        (folder / name).write_text(yaml.safe_dump(faster(yaml.safe_load((FOLDER / name).read_text()))))
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    routing = yaml.safe_load((FOLDER / "alertmanager.yml").read_text())
    routing["route"] |= {"group_wait": "1s", "group_interval": "1s"}
    routing["receivers"][0]["webhook_configs"] = [{"url": hook}]
    (folder / "alertmanager.yml").write_text(yaml.safe_dump(routing))


@dataclass(frozen=True)
class Watched:
    server: httpx.Client
    prometheus: httpx.Client
    hook: Hook

    def query(self, expr: str, at: float) -> list[float]:
        """The values of an expression's series that are numbers."""
        answer = self.prometheus.get("/api/v1/query", params={"query": expr, "time": at}).json()
        assert answer["status"] == "success", (expr, answer)
        values = [float(series["value"][1]) for series in answer["data"]["result"]]
        return [value for value in values if not math.isnan(value)]

    def firing(self) -> set[str]:
        alerts = self.prometheus.get("/api/v1/alerts").json()["data"]["alerts"]
        return {alert["labels"]["alertname"] for alert in alerts if alert["state"] == "firing"}


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if missing:
        words = f"{' and '.join(missing)} missing; apt-get install --no-install-recommends {' '.join(PROGRAMS)}"
        if os.environ.get("CHECK_OPS") == "1":
            pytest.fail(words)
        pytest.skip(words)
    hook = Hook()
    ports = {"prometheus": free_port(), "alertmanager": free_port()}
    with contextlib.ExitStack() as stack:
        start = stack.enter_context
        log = tmp_path / "server.log"
        quiet = {
            "OMP_NUM_THREADS": "1",
            "PYTHONUNBUFFERED": "1",
            "FLASHU_HANG_TIMEOUT_S": "600",
            "FLASHU_MAX_QUEUE_SECONDS": "20",
        }
        start(running([sys.executable, "-m", "server", "--port", "0", "--dtype", "float32"], log, **quiet))
        ready = wait_for(
            lambda: re.search(r"ready on http://127\.0\.0\.1:(\d+)", log.read_text()), "the server's start"
        )
        configure(
            tmp_path,
            target=int(ready[1]),
            alertmanager=ports["alertmanager"],
            hook=start(hook.listening()),
        )
        start(
            running(
                [
                    "prometheus-alertmanager",
                    f"--config.file={tmp_path / 'alertmanager.yml'}",
                    f"--storage.path={tmp_path / 'alertmanager'}",
                    f"--web.listen-address=127.0.0.1:{ports['alertmanager']}",
                    "--cluster.listen-address=",
                ],
                tmp_path / "alertmanager.log",
            )
        )
        start(
            running(
                [
                    "prometheus",
                    f"--config.file={tmp_path / 'prometheus.yml'}",
                    f"--storage.tsdb.path={tmp_path / 'data'}",
                    f"--web.listen-address=127.0.0.1:{ports['prometheus']}",
                ],
                tmp_path / "prometheus.log",
            )
        )
        server = start(httpx.Client(base_url=f"http://127.0.0.1:{ready[1]}", timeout=TIMEOUT_S))
        prometheus = start(httpx.Client(base_url=f"http://127.0.0.1:{ports['prometheus']}", timeout=TIMEOUT_S))
        found = Watched(server, prometheus, hook)

        def scraped() -> bool:
            with contextlib.suppress(httpx.TransportError):
                answer = prometheus.get("/api/v1/query", params={"query": 'up{job="flashu"} == 1'})
                return answer.status_code == 200 and bool(answer.json()["data"]["result"])
            return False

        wait_for(scraped, "the first scrape")
        yield found


def picture() -> str:
    file = io.BytesIO()
    Image.new("RGB", (64, 64), "red").save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


@contextlib.contextmanager
def load(server: httpx.Client, clients: int) -> Iterator[None]:
    """Clients in a closed loop with both tasks, some under exact, some under flashu."""
    stop = threading.Event()
    image = picture()

    def one(number: int) -> None:
        policy = ("flashu", "exact", "flashu-fast")[number % 3]
        generation = {"prompt": "a large red circle", "acceleration": policy}
        # Hot, so that some answers have more tokens than one whatever the checkpoint has learnt.
        hot = {"max_new_tokens": 8, "temperature": 2.0}
        question = {"question": "what is in the picture?", "image": image, "acceleration": policy, **hot}
        chat = {"model": "shapes-64", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 8}
        path, body = {0: ("/v1/vqa", question), 1: ("/v1/chat/completions", chat)}.get(
            number % 8, ("/v1/generate", generation)
        )
        with httpx.Client(base_url=server.base_url, timeout=TIMEOUT_S) as client:
            while not stop.is_set():
                if client.post(path, json=body).status_code != 200 or body is not generation:
                    stop.wait(1.0)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def left_early(server: httpx.Client) -> bool:
    """Whether steps were saved by a client that disconnected; a busy server may have rejected it."""
    # A machine that runs 50 steps in those 0.3 s does not run 300.
    long = {"prompt": "a", "acceleration": "exact", "num_inference_steps": 300}
    with contextlib.suppress(httpx.ReadTimeout):
        server.post("/v1/generate", json=long, timeout=0.3)
    saved = re.search(r"^flashu_evaluations_saved_by_cancel_total (\S+)", server.get("/metrics").text, re.MULTILINE)
    assert saved is not None
    return float(saved[1]) > 0


@pytest.mark.packages
def test_a_queue_alerts_the_webhook_and_every_panel_has_data(
    watched: Watched, rules: list[dict[str, Any]], tmp_path: Path
) -> None:
    started = time.time()
    with load(watched.server, 4):
        time.sleep(8)  # what a quiet server looks like
        assert "FlashUQueueWaitLong" not in watched.firing()
        assert watched.server.post("/v1/generate", json={"prompt": ""}).status_code == 400
        wait_for(lambda: left_early(watched.server), "a client that disconnects from a running request")
    with load(watched.server, CLIENTS):
        wait_for(lambda: watched.hook.received("FlashUQueueWaitLong", "firing"), "the alert")
        under_load = time.time()
        assert "FlashUQueueWaitLong" in watched.firing()
    empty = {}
    for row in ROWS:
        for panel in row.panels:
            for query in panel.queries:
                if not watched.query(filled_in(query.expr, rate_s=120), under_load):
                    empty[query.expr.partition("{")[0]] = panel.title
    assert set(empty) == set(EMPTY), empty
    assert watched.query('flashu_requests_total{status="503"} > 0', under_load)
    assert watched.query('flashu_requests_total{status="400"} > 0', under_load)
    assert watched.query('flashu_requests_total{status="499"} > 0', under_load)
    assert watched.query("flashu_evaluations_saved_by_cancel_total > 0", under_load)
    wait_for(lambda: watched.hook.received("FlashUQueueWaitLong", "resolved"), "the end of the alert")
    quiet = wait_for(lambda: not watched.firing() & {"FlashUQueueWaitLong", "FlashUBacklogLong"}, "peace")
    assert quiet
    # Load is no fault.
    alerts = {one["labels"]["alertname"] for one in watched.hook.alerts}
    critical = {rule["alert"] for rule in rules if rule.get("labels", {}).get("severity") == "critical"}
    # A scrape may take more than a second while the machine is busy with other things.
    assert not alerts & (critical - {"FlashUTargetDown"} | {"FlashUWorkerRestarted", "FlashUAccelerationLost"}), alerts
    folder = Path(os.environ.get("DASHBOARD_PICTURES", tmp_path))
    pictures = plot(watched.prometheus, Span(start=started, end=time.time(), rate_s=10), folder)
    assert [path.name for path in pictures] == [f"dashboard-{row.name}.png" for row in ROWS]
    for path in pictures:
        assert 10_000 < path.stat().st_size < 300_000, path


def test_only_durations_are_made_shorter() -> None:
    rules = yaml.safe_load((FOLDER / "rules/alerts.yml").read_text())
    quick = faster(rules)
    pairs = [
        pair
        for group, quicker in zip(rules["groups"], quick["groups"], strict=True)
        for pair in zip(group["rules"], quicker["rules"], strict=True)
    ]
    for rule, shorter in pairs:
        assert re.sub(r"\[\w+\]", "", rule["expr"]) == re.sub(r"\[\w+\]", "", shorter["expr"])
        assert ("for" in rule) == ("for" in shorter)
        if "for" in rule:
            assert int(shorter["for"][:-1]) * FASTER == int(rule["for"][:-1]) * 60
    assert any("[20s]" in shorter["expr"] for _, shorter in pairs)
