"""Named spans of work, timed by CUDA events on a GPU and by a clock on a CPU."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch


def wait_for(device: torch.device) -> None:
    """Waits until the device has finished its work; on a CPU it has."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def to_device(values: Sequence[object], device: torch.device) -> torch.Tensor:
    """Numbers as a tensor on a device, without waiting for the device's queued work."""
    return torch.tensor(values).to(device, non_blocking=True)


class Spans:
    """The spans of one unit of work.

    On a GPU a span is a pair of CUDA events that is read only by `milliseconds`, so that measuring never makes the host
    wait between components.
    """

    __slots__ = ("_clock", "_cuda", "_events")

    def __init__(self, device: torch.device) -> None:
        self._cuda = device.type == "cuda"
        self._clock: list[tuple[str, float]] = []
        self._events: list[tuple[str, torch.cuda.Event, torch.cuda.Event]] = []

    @contextmanager
    def span(self, name: str) -> Iterator[None]:
        """Measures the `with` block under that name."""
        if self._cuda:
            start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            start.record()
            yield
            end.record()
            self._events.append((name, start, end))
        else:
            begun = time.perf_counter()
            yield
            self._clock.append((name, (time.perf_counter() - begun) * 1000))

    def milliseconds(self) -> Iterator[tuple[str, float]]:
        """Each span's name and milliseconds; waits for the device where events are pending."""
        yield from self._clock
        for name, start, end in self._events:
            end.synchronize()
            yield name, start.elapsed_time(end)


def total_milliseconds(units: Iterable[Spans]) -> dict[str, float]:
    """Milliseconds by name over several units of work."""
    totals: dict[str, float] = {}
    for unit in units:
        for name, length in unit.milliseconds():
            totals[name] = totals.get(name, 0.0) + length
    return totals
