"""CUDA graphs of recurring work, captured when it recurs. Knows neither what is captured nor why.

A graph replays the kernels it was captured with, at the addresses it was captured with: what differs between two
replays must be in buffers that stay where they are.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from flashu_core.lru_cache import LruCache

Result = TypeVar("Result")
# Graphs of layers and passes. Clients choose lengths of prompts and numbers of rows, so the number is bounded.
LIMIT = 8192


@dataclass(slots=True)
class _Work:
    """Of one key: what it left when it was captured."""

    calls: int = 0
    graph: torch.cuda.CUDAGraph | None = None
    result: object = None


class Captures:
    """Runs work by key: the first time as it is, the second time captured, from then on replayed.

    All graphs take what they need between their first and last kernel from one pool of memory, which is free again when
    a graph ends: only one runs at a time.

    Args:
        device: where work runs.
        limit: graphs that are kept; those not used for longest are dropped.
    """

    def __init__(self, device: torch.device, limit: int = LIMIT) -> None:
        self._capturing = device.type == "cuda"
        self._works: LruCache[Hashable, _Work] = LruCache(limit)
        if self._capturing:
            self._pool = torch.cuda.graph_pool_handle()
            self._stream = torch.cuda.Stream(device)
            with torch.cuda.stream(self._stream):  # the library of products takes its memory outside of any graph
                torch.zeros(16, 16, device=device) @ torch.zeros(16, 16, device=device)

    def __len__(self) -> int:
        return sum(work.graph is not None for work in self._works)

    def run(self, key: Hashable, work: Callable[[], Result]) -> Result:
        """What the work of that key returns; a tensor that is not in a buffer is valid until the next work of any key.

        Args:
            key: all that the kernels and addresses of the work depend on.
            work: works on buffers that it finds where they were the last time.
        """
        if not self._capturing:
            return work()
        known = self._works.get(key, _Work)
        known.calls += 1
        if known.calls == 1:  # compiles kernels and makes handles, which a capture cannot
            return work()
        if known.graph is None:
            known.graph, known.result = self._capture(work)
        known.graph.replay()
        return known.result  # type: ignore[return-value]

    def _capture(self, work: Callable[[], Result]) -> tuple[torch.cuda.CUDAGraph, Result]:
        # Not the context manager `torch.cuda.graph`: it empties torch's cache each time, and there are hundreds.
        graph = torch.cuda.CUDAGraph()
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            graph.capture_begin(pool=self._pool)
            try:
                result = work()
            finally:
                graph.capture_end()
        torch.cuda.current_stream().wait_stream(self._stream)
        return graph, result


class Buffers:
    """Tensors that stay where they are, by name and shape."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._kept: dict[tuple[str, tuple[int, ...], torch.dtype], Tensor] = {}

    def get(self, name: str, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """The one of that name, shape and type; zeros when it is new."""
        key = (name, shape, dtype)
        if key not in self._kept:
            self._kept[key] = torch.zeros(shape, dtype=dtype, device=self._device)
        return self._kept[key]

    def like(self, name: str, tensor: Tensor) -> Tensor:
        """The one of that name like `tensor`, holding what that holds."""
        own = self.get(name, tuple(tensor.shape), tensor.dtype)
        own.copy_(tensor)
        return own


class Calls:
    """Functions of tensors alone, each a graph for each shape it is called with."""

    def __init__(self, captures: Captures, buffers: Buffers) -> None:
        self._captures, self._buffers = captures, buffers

    def __call__(self, name: str, function: Callable[..., tuple[Tensor, ...]], *inputs: Tensor) -> tuple[Tensor, ...]:
        """What the function returns, valid until the next call of that name with that shape.

        Args:
            name: a function's own; all else it depends on stays as it is.
        """
        key = (name, *((tuple(one.shape), one.dtype) for one in inputs))
        own = [self._buffers.like(f"{name} {index}", one) for index, one in enumerate(inputs)]

        def work() -> tuple[Tensor, ...]:
            found = [
                (self._buffers.get(f"{key} {index}", tuple(one.shape), one.dtype), one)
                for index, one in enumerate(function(*own))
            ]
            for kept, one in found:
                kept.copy_(one)
            return tuple(kept for kept, _ in found)

        return self._captures.run(key, work)
