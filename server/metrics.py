"""The server's Prometheus metrics, in a registry of their own so that two apps in one process do not meet. It knows
names, labels and buckets; label values come from fixed sets, never from a client."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from server import __version__

_BUCKETS = (
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0),
)
COMPONENTS: Mapping[str, tuple[str, ...]] = {
    "generate": (
        "tokenize",
        "prefix",
        "features",
        "backbone",
        "head",
        "guidance",
        "preview",
        "vae_decode",
        "image_encode",
    ),
    "vqa": ("tokenize", "image_decode", "vae_encode", "features", "prefill", "decode"),
}


class Watched(Protocol):
    """What the worker counts itself."""

    @property
    def running(self) -> int: ...
    @property
    def waiting(self) -> int: ...
    @property
    def restarts(self) -> int: ...
    @property
    def last_progress(self) -> float: ...
    @property
    def evaluations_saved(self) -> int: ...


class _OfWorker(Collector):
    """Asks the worker at every scrape."""

    def __init__(self, worker: Watched) -> None:
        self._worker = worker

    def collect(self) -> Iterator[Metric]:
        worker = self._worker
        yield GaugeMetricFamily("flashu_requests_running", "Requests inside the engine.", worker.running)
        yield GaugeMetricFamily("flashu_requests_waiting", "Requests in the queue.", worker.waiting)
        yield CounterMetricFamily("flashu_worker_restarts", "Processes that replaced one that died.", worker.restarts)
        yield GaugeMetricFamily(
            "flashu_worker_last_progress_timestamp_seconds", "When a unit of work last ended.", worker.last_progress
        )
        yield CounterMetricFamily(
            "flashu_evaluations_saved_by_cancel",
            "Evaluations not run because nobody wanted their picture any more.",
            worker.evaluations_saved,
        )


class Metrics:
    """Every metric of one app."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "flashu_requests_total", "Requests by task and HTTP status.", ("task", "status"), registry=self.registry
        )
        self._duration = self._histogram("request_duration_seconds", "From the headers to the answer.", "task")
        self._queue_time = self._histogram("queue_time_seconds", "From the queue to the engine.", "task")
        self._component = self._histogram("component_seconds", "Time per component.", "task", "component")
        self._rejected = Counter(
            "flashu_rejected_total", "Requests refused or dropped, by reason.", ("reason",), registry=self.registry
        )
        build = Gauge("flashu_build_info", "Always 1; the labels tell the build.", ("version",), registry=self.registry)
        build.labels(__version__).set(1)

    def watch(self, worker: Watched) -> None:
        """Reads the worker's own counts at every scrape."""
        self.registry.register(_OfWorker(worker))

    def count(self, task: str, status: int, seconds: float) -> None:
        self._requests.labels(task, str(status)).inc()
        self._duration.labels(task).observe(seconds)

    def work_done(self, task: str, timings_ms: Mapping[str, float]) -> None:
        """Takes an answer's `timings_ms`; names that are no component of the task are left out."""
        self._queue_time.labels(task).observe(timings_ms["queue"] / 1000)
        for name in COMPONENTS[task]:
            if name in timings_ms:
                self._component.labels(task, name).observe(timings_ms[name] / 1000)

    def reject(self, reason: str) -> None:
        self._rejected.labels(reason).inc()

    def render(self) -> bytes:
        return generate_latest(self.registry)

    def _histogram(self, name: str, text: str, *labels: str) -> Histogram:
        return Histogram(f"flashu_{name}", text, labels, registry=self.registry, buckets=_BUCKETS)
