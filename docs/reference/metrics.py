"""The server's metrics as a page, from its registry."""

from __future__ import annotations

from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric

from server.app import create_app
from server.gpus import Gpus
from server.settings import Settings

_HEAD = """# Metrics

Made by `python -m docs.reference` from the registry behind `GET /metrics`. [Monitoring](../monitoring.md) says which of
them to watch. `process_*` and `python_*`, of the front end, and `flashu_worker_process_*`, of the engine's process, are
those of every Python program. A histogram has series ending in `_bucket`, `_sum` and `_count`.

| metric | type | labels | meaning |
| --- | --- | --- | --- |
"""
_GPU_HEAD = """
On a machine with an NVIDIA driver and the extra `nvml`:

| metric | type | labels | meaning |
| --- | --- | --- | --- |
"""
_STANDARD = ("process_", "python_", "flashu_worker_process_", "flashu_gpu_")


def text() -> str:
    """The page: the same on every machine, so metrics of its GPUs come from a made-up one."""
    # Not `Settings()`, which reads the environment.
    metrics = create_app(Settings.model_construct()).state.services.metrics
    labels = _declared_labels(metrics.registry)
    found = sorted(metrics.registry.collect(), key=lambda family: family.name)
    rows = [_row(one, labels.get(one.name, ())) for one in found if not one.name.startswith(_STANDARD)]
    return _HEAD + "".join(rows) + _GPU_HEAD + "".join(_row(one, ()) for one in Gpus(_made_up_gpu()).collect())


def _declared_labels(registry: CollectorRegistry) -> dict[str, tuple[str, ...]]:
    # A metric with labels and no series yet shows them nowhere else.
    collectors: Iterable[Any] = registry._collector_to_names  # noqa: SLF001
    return {one._name: one._labelnames for one in collectors if hasattr(one, "_labelnames")}  # noqa: SLF001


def _row(family: Metric, declared: tuple[str, ...]) -> str:
    name = family.name + ("_total" if family.type == "counter" else "")
    declared = (*declared, *getattr(family, "_labelnames", ()))
    labels = sorted({label for sample in family.samples for label in sample.labels} - {"le"} | set(declared))
    cells = [f"`{name}`", family.type, ", ".join(f"`{label}`" for label in labels), family.documentation]
    return f"| {' | '.join(cells)} |\n"


def _made_up_gpu() -> SimpleNamespace:
    return SimpleNamespace(
        NVMLError=RuntimeError,
        nvmlDeviceGetCount=lambda: 1,
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetUUID=lambda _: "GPU-0",
        nvmlDeviceGetMemoryInfo=lambda _: SimpleNamespace(used=0, total=0),
        nvmlDeviceGetUtilizationRates=lambda _: SimpleNamespace(gpu=0),
        nvmlDeviceGetPowerUsage=lambda _: 0,
    )
