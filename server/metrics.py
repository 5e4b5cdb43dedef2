"""The server's Prometheus metrics, in a registry of their own so that two apps in one process do not meet. It knows
names, labels and buckets; label values come from fixed sets, never from a client. Times of components are those that
the engine measured on its device."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Protocol

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from flashu_core import GenerateResult, Result, Task, UnitEnded
from server import __version__
from server.connections.protocol import CUTS
from server.errors import FAILURES, REFUSALS
from server.gpus import gpus_of_machine
from server.worker.admission import REASONS, TASKS, AdmissionCounts

_SECONDS = (
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0),
)
_ROWS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 128, 256)
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
UNROUTED = "unrouted"  # the task of what ended before it was known
# Which counts of a result's schedule go to which metric, and under which kind there.
_BACKBONE = {"full": "backbone_full", "pruned": "backbone_pruned", "not_needed": "backbone_not_needed"}
_HEAD = {"computed": "head_computed", "reused": "head_reused"}
_TOKENS = {"kept": "visual_tokens_kept", "pruned": "visual_tokens_pruned"}


class Watched(Protocol):
    """What the worker counts itself."""

    @property
    def pid(self) -> int | None: ...
    @property
    def running(self) -> int: ...
    @property
    def waiting(self) -> int: ...
    @property
    def backlog(self) -> float: ...
    @property
    def admissions(self) -> AdmissionCounts: ...
    def predicted_wait(self, task: Task) -> float: ...
    @property
    def restarts(self) -> int: ...
    @property
    def last_progress(self) -> float: ...
    @property
    def steps_saved(self) -> int: ...
    @property
    def memory(self) -> Mapping[str, int]: ...


class _OfWorker(Collector):
    """Asks the worker at every scrape."""

    def __init__(self, worker: Watched) -> None:
        self._worker = worker

    def collect(self) -> Iterator[Metric]:
        worker = self._worker
        yield GaugeMetricFamily("flashu_requests_running", "Requests the engine is processing.", worker.running)
        yield GaugeMetricFamily("flashu_requests_waiting", "Requests waiting in the queue.", worker.waiting)
        yield GaugeMetricFamily(
            "flashu_backlog_seconds", "Predicted time to finish all accepted requests.", worker.backlog
        )
        yield CounterMetricFamily(
            "flashu_worker_restarts", "Engine processes started to replace one that died.", worker.restarts
        )
        yield GaugeMetricFamily(
            "flashu_worker_last_progress_timestamp_seconds",
            "Unix time at which the last unit of work finished.",
            worker.last_progress,
        )
        yield CounterMetricFamily(
            "flashu_evaluations_saved_by_cancel",
            "Denoising steps not run because their request was cancelled.",
            worker.steps_saved,
        )
        memory = GaugeMetricFamily(
            "flashu_accelerator_memory_bytes", "Memory of the model's device by kind.", labels=("kind",)
        )
        for kind, size in worker.memory.items():
            memory.add_metric((kind,), size)
        yield memory


class _OfAdmission(Collector):
    """Asks the worker's admission at every scrape; all series are there from the start."""

    def __init__(self, worker: Watched) -> None:
        self._worker = worker

    def collect(self) -> Iterator[Metric]:
        counts = self._worker.admissions
        wait = GaugeMetricFamily(
            "flashu_predicted_wait_seconds",
            "Predicted queue time of a small request that arrives now.",
            labels=("task",),
        )
        accepted = CounterMetricFamily(
            "flashu_admission_accepted", "Requests admitted to the engine.", labels=("task",)
        )
        refused = CounterMetricFamily(
            "flashu_admission_refused",
            "Requests rejected by admission control: predicted wait, wait if answers reach their maximum length, queue "
            "length, or the request's own cost.",
            labels=("task", "reason"),
        )
        predicted = CounterMetricFamily(
            "flashu_admission_predicted_wait_seconds",
            "Sum of queue times predicted at admission, of requests that have started.",
            labels=("task",),
        )
        observed = CounterMetricFamily(
            "flashu_admission_observed_wait_seconds",
            "Sum of observed queue times, of requests that have started.",
            labels=("task",),
        )
        for task in TASKS:
            wait.add_metric((task,), self._worker.predicted_wait(task))
            accepted.add_metric((task,), counts.accepted[task])
            predicted.add_metric((task,), counts.predicted[task])
            observed.add_metric((task,), counts.observed[task])
            for reason in REASONS:
                refused.add_metric((task, reason), counts.refused[task, reason])
        yield from (wait, accepted, refused, predicted, observed)


class _OfLog(Collector):
    """Asks the log at every scrape."""

    def __init__(self, dropped: Callable[[], int]) -> None:
        self._dropped = dropped

    def collect(self) -> Iterator[Metric]:
        text = "Log lines dropped because stderr was not read in time."
        yield CounterMetricFamily("flashu_log_lines_dropped", text, self._dropped())


class _WithoutCreated(Collector):
    """All of a registry but the moments at which its series began: they double the text, and nobody here asks for
    them."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def collect(self) -> Iterator[Metric]:
        for family in self._registry.collect():
            family.samples = [sample for sample in family.samples if not sample.name.endswith("_created")]
            yield family


class WatchedPool(Protocol):
    """What a pool of image processes counts itself."""

    name: str
    replaced: dict[str, int]

    @property
    def waiting(self) -> int: ...


class _OfImages(Collector):
    """Asks the pools of image processes at every scrape."""

    def __init__(self, pools: Iterable[WatchedPool]) -> None:
        self._pools = tuple(pools)

    def collect(self) -> Iterator[Metric]:
        waiting = GaugeMetricFamily(
            "flashu_images_waiting", "Images waiting for an image process to decode or encode them.", labels=("kind",)
        )
        replaced = CounterMetricFamily(
            "flashu_image_processes_replaced",
            "Image processes replaced after a timeout or a crash.",
            labels=("kind", "reason"),
        )
        for pool in self._pools:
            waiting.add_metric((pool.name,), pool.waiting)
            for reason, count in pool.replaced.items():
                replaced.add_metric((pool.name, reason), count)
        yield waiting
        yield replaced


class Metrics:
    """Every metric of one app. Series of labels that are known before their first event begin with 0: Prometheus's
    `rate` and `increase` see nothing of an event that its series begins with.

    Args:
        max_age_s: seconds that a rendered text is given to everybody who asks: rendering takes milliseconds of the
            event loop, and anybody may ask.
        clock: monotonic seconds.
    """

    def __init__(self, *, max_age_s: float = 0.0, clock: Callable[[], float] = time.monotonic) -> None:
        self.registry = CollectorRegistry()
        self._max_age_s = max_age_s
        self._clock = clock
        self._rendered = b""
        self._rendered_at = -math.inf
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self.registry)
        gpus = gpus_of_machine()
        if gpus is not None:
            self.registry.register(gpus)
        self._requests = self._counter(
            "requests_total",
            "Requests by status; the policy is empty for requests without a result.",
            "task",
            "policy",
            "status",
        )
        self._duration = self._histogram(
            "request_duration_seconds",
            "Latency of successful (2xx) requests, from the request's headers to the end of the response.",
            "task",
        )
        self._queue_time = self._histogram(
            "queue_time_seconds", "Time in the engine's queue, until the first unit of work starts.", "task"
        )
        self._component = self._histogram(
            "component_seconds", "Time per component of a request.", "task", "policy", "component"
        )
        self._first_token = self._histogram("time_to_first_token_seconds", "Time to first token, queue time included.")
        self._inter_token = self._histogram("inter_token_seconds", "Mean time between output tokens of a request.")
        self._step = self._histogram("evaluation_seconds", "Duration of one denoising step of a batch.")
        self._batch = self._histogram("batch_size", "Images or answers in one unit of work.", "task", buckets=_ROWS)
        self._backbone = self._counter("backbone_passes_total", "Denoising steps by how the backbone ran.", "kind")
        self._skipped = self._counter("layers_skipped_total", "Backbone layers skipped.", "task")
        self._head = self._counter(
            "head_passes_total", "Denoising steps by whether the diffusion head was computed.", "kind"
        )
        self._tokens = self._counter("visual_tokens_total", "Image tokens of understanding requests.", "kind")
        self._rejected = self._counter(
            "rejected_total", "Requests rejected or dropped, and connections closed, by reason.", "reason"
        )
        self._all_tokens = self._counter("tokens_total", "Text tokens of results, prompt and generated.", "kind")
        self._images = self._counter("images_total", "Images generated.")
        about = "Always 1; labels carry the version and, once it is loaded, the model."
        self._build = Gauge("flashu_build_info", about, ("version", "model"), registry=self.registry)
        self._build.labels(__version__, "").set(1)
        for kind_of_token in ("prompt", "generated"):
            self._all_tokens.labels(kind_of_token)
        for task in COMPONENTS:
            for metric in (self._duration, self._queue_time, self._batch, self._skipped):
                metric.labels(task)
        for task in (*COMPONENTS, UNROUTED):
            for status in FAILURES:
                self._requests.labels(task, "", str(status))
        for counter, kinds in self._of_schedules():
            for kind in kinds:
                counter.labels(kind)
        for reason in (*REFUSALS, *CUTS):
            self._rejected.labels(reason)

    def watch(self, worker: Watched) -> None:
        """Reads the worker's own counts at every scrape."""
        self.registry.register(_OfWorker(worker))
        self.registry.register(_OfAdmission(worker))
        # A process that is not there has no files to read, and no series.
        ProcessCollector("flashu_worker", pid=lambda: worker.pid or "none", registry=self.registry)

    def watch_log(self, dropped: Callable[[], int]) -> None:
        """Reads at every scrape how many lines the log has lost."""
        self.registry.register(_OfLog(dropped))

    def watch_images(self, pools: Iterable[WatchedPool]) -> None:
        """Reads the image processes' own counts at every scrape."""
        self.registry.register(_OfImages(pools))

    def expect(self, model: str, policies: Iterable[str]) -> None:
        """Tells of the model when it is loaded, and begins the counts of answers under its policies."""
        self._build.clear()
        self._build.labels(__version__, model).set(1)
        for policy in policies:
            for task in COMPONENTS:
                self._requests.labels(task, policy, "200")

    def count(self, task: str, policy: str | None, status: int, seconds: float) -> None:
        """A request that was answered, or failed; `status` is what it ended with. What fails fast is not to make a slow
        server look quick: durations are of answers only."""
        self._requests.labels(task, policy or "", str(status)).inc()
        if 200 <= status < 300:
            self._duration.labels(task).observe(seconds)

    def unit_ended(self, unit: UnitEnded) -> None:
        task = "vqa" if unit.stage in ("prefill", "decode") else "generate"
        self._batch.labels(task).observe(unit.rows)
        if unit.stage == "evaluate":
            self._step.observe(unit.seconds)

    def work_done(self, result: Result, timings_ms: Mapping[str, float]) -> None:
        """A result, and its `timings_ms`; names that are no component of its task are skipped."""
        task = "generate" if isinstance(result, GenerateResult) else "vqa"
        self._queue_time.labels(task).observe(timings_ms["queue"] / 1000)
        for name in COMPONENTS[task]:
            if name in timings_ms:
                self._component.labels(task, result.acceleration, name).observe(timings_ms[name] / 1000)
        if "layers_skipped" in result.schedule:
            self._skipped.labels(task).inc(result.schedule["layers_skipped"])
        for counter, kinds in self._of_schedules():
            for kind, name in kinds.items():
                if name in result.schedule:
                    counter.labels(kind).inc(result.schedule[name])
        self._all_tokens.labels("prompt").inc(result.prompt_tokens)
        if isinstance(result, GenerateResult):
            self._images.inc(len(result.images))
        else:
            self._all_tokens.labels("generated").inc(result.completion_tokens)
            first = timings_ms["time_to_first_token"]
            self._first_token.observe((timings_ms["queue"] + first) / 1000)
            if result.completion_tokens > 1:
                rest = timings_ms["total"] - first
                self._inter_token.observe(rest / 1000 / (result.completion_tokens - 1))

    def reject(self, reason: str) -> None:
        self._rejected.labels(reason).inc()

    def render(self) -> bytes:
        """The text for Prometheus, of now or of at most `max_age_s` ago."""
        now = self._clock()
        if now - self._rendered_at >= self._max_age_s:
            self._rendered = generate_latest(_WithoutCreated(self.registry))
            self._rendered_at = now
        return self._rendered

    def _of_schedules(self) -> tuple[tuple[Counter, Mapping[str, str]], ...]:
        return (self._backbone, _BACKBONE), (self._head, _HEAD), (self._tokens, _TOKENS)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"flashu_{name}", text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str, *labels: str, buckets: tuple[float, ...] = _SECONDS) -> Histogram:
        return Histogram(f"flashu_{name}", text, labels, registry=self.registry, buckets=buckets)
