"""What NVML says becomes metrics; the library here is a fake, for no machine of the tests has a GPU."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from server.gpus import Gpus, gpus_of_machine


class NVMLError(Exception):
    pass


def library(**changes: Any) -> Any:
    def refuse(*_: Any) -> Any:
        raise NVMLError

    named = {
        "NVMLError": NVMLError,
        "nvmlInit": lambda: None,
        "nvmlDeviceGetCount": lambda: 2,
        "nvmlDeviceGetHandleByIndex": lambda index: index,
        "nvmlDeviceGetUUID": lambda device: f"GPU-{device}",
        "nvmlDeviceGetMemoryInfo": lambda device: SimpleNamespace(used=1000 * (device + 1), total=80_000),
        "nvmlDeviceGetUtilizationRates": lambda device: SimpleNamespace(gpu=25),
        "nvmlDeviceGetPowerUsage": lambda device: 300_000,
    }
    return SimpleNamespace(
        **{**named, **{name: refuse if change is None else change for name, change in changes.items()}}
    )


def rendered(gpus: Gpus) -> list[str]:
    registry = CollectorRegistry()
    registry.register(gpus)
    return [line for line in generate_latest(registry).decode().splitlines() if not line.startswith("#")]


def test_units_and_labels() -> None:
    lines = rendered(Gpus(library()))
    assert 'flashu_gpu_utilization_ratio{gpu="0",uuid="GPU-0"} 0.25' in lines
    assert 'flashu_gpu_memory_bytes{gpu="1",kind="used",uuid="GPU-1"} 2000.0' in lines
    assert 'flashu_gpu_memory_bytes{gpu="1",kind="total",uuid="GPU-1"} 80000.0' in lines
    assert 'flashu_gpu_power_watts{gpu="0",uuid="GPU-0"} 300.0' in lines
    assert len(lines) == 8


def test_what_a_device_does_not_report_is_absent() -> None:
    lines = rendered(Gpus(library(nvmlDeviceGetUtilizationRates=None)))
    assert len(lines) == 4
    assert all(line.startswith("flashu_gpu_memory_bytes") for line in lines)
    assert rendered(Gpus(library(nvmlDeviceGetCount=None))) == []


def test_without_library_or_driver_there_is_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert gpus_of_machine() is None
    monkeypatch.setitem(sys.modules, "pynvml", library(nvmlInit=None))
    assert gpus_of_machine() is None
    monkeypatch.setitem(sys.modules, "pynvml", library())
    assert isinstance(gpus_of_machine(), Gpus)
