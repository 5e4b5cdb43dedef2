"""What NVIDIA's library tells of the machine's GPUs, for the metrics. It knows NVML, which comes with the extra `nvml`
and needs a driver; without either there is nothing to tell."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector


class Gpus(Collector):
    """Utilisation, memory and power of every GPU that this process may see, read at each scrape.

    `gpu` is NVML's index, which `CUDA_VISIBLE_DEVICES` does not change; `uuid` is the device's own.

    Args:
        nvml: the module `pynvml`, initialised.
    """

    def __init__(self, nvml: Any) -> None:
        self._nvml = nvml

    def collect(self) -> Iterator[Metric]:
        labels = ("gpu", "uuid")
        busy = GaugeMetricFamily("flashu_gpu_utilization_ratio", "Share of time with a kernel running.", labels=labels)
        memory = GaugeMetricFamily(
            "flashu_gpu_memory_bytes", "Memory of the GPU, of all processes.", labels=(*labels, "kind")
        )
        power = GaugeMetricFamily("flashu_gpu_power_watts", "Power that the GPU draws.", labels=labels)
        for index in range(self._count()):
            try:
                device = self._nvml.nvmlDeviceGetHandleByIndex(index)
                own = (str(index), _text(self._nvml.nvmlDeviceGetUUID(device)))
                held = self._nvml.nvmlDeviceGetMemoryInfo(device)
                memory.add_metric((*own, "used"), held.used)
                memory.add_metric((*own, "total"), held.total)
                busy.add_metric(own, self._nvml.nvmlDeviceGetUtilizationRates(device).gpu / 100)
                power.add_metric(own, self._nvml.nvmlDeviceGetPowerUsage(device) / 1000)
            except self._nvml.NVMLError:  # a slice of a GPU tells less than a whole one; a lost one tells nothing
                continue
        yield from (family for family in (busy, memory, power) if family.samples)

    def _count(self) -> int:
        try:
            return int(self._nvml.nvmlDeviceGetCount())
        except self._nvml.NVMLError:
            return 0


def gpus_of_machine() -> Gpus | None:
    """None where the library, the driver or a GPU is missing."""
    try:
        nvml = importlib.import_module("pynvml")
    except ImportError:
        return None
    try:
        nvml.nvmlInit()
    except nvml.NVMLError:
        return None
    return Gpus(nvml)


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value  # older releases give bytes
