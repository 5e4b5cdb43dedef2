"""CUDA graphs of recurring work, captured the second time it runs.

A graph replays the kernels it was captured with at the addresses it was captured with, so everything that differs
between two replays must be in buffers with fixed addresses.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from flashu_core.lru_cache import LruCache

Result = TypeVar("Result")
# Graphs of layers and passes. Clients choose the lengths of prompts and the numbers of rows, so graphs are bounded.
LIMIT = 8192


@dataclass(slots=True)
class _Work:
    """The graph of one key, and what it returned when it was captured."""

    calls: int = 0
    graph: torch.cuda.CUDAGraph | None = None
    result: object = None


class Captures:
    """Runs work by key: eagerly the first time, captured the second time, replayed from then on.

    All graphs share one memory pool for their intermediate tensors, which is safe because only one runs at a time.

    Args:
        device: where the work runs.
        limit: maximum number of graphs; the least recently used are dropped.
    """

    def __init__(self, device: torch.device, limit: int = LIMIT) -> None:
        self._capturing = device.type == "cuda"
        self._works: LruCache[Hashable, _Work] = LruCache(limit)
        if self._capturing:
            self._pool = torch.cuda.graph_pool_handle()
            self._stream = torch.cuda.Stream(device)
            with torch.cuda.stream(self._stream):  # cuBLAS allocates its workspace outside of any graph
                torch.zeros(16, 16, device=device) @ torch.zeros(16, 16, device=device)

    def __len__(self) -> int:
        return sum(work.graph is not None for work in self._works)

    def run(self, key: Hashable, work: Callable[[], Result]) -> Result:
        """Runs the work of a key and returns its result. A tensor that is not in a buffer is valid until the next call.

        Args:
            key: everything that the kernels and addresses of the work depend on.
            work: reads and writes buffers with fixed addresses.
        """
        if not self._capturing:
            return work()
        known = self._works.get(key, _Work)
        known.calls += 1
        if known.calls == 1:  # compiles kernels and creates handles, which a capture cannot
            return work()
        if known.graph is None:
            known.graph, known.result = self._capture(work)
        known.graph.replay()
        return known.result  # type: ignore[return-value]

    def _capture(self, work: Callable[[], Result]) -> tuple[torch.cuda.CUDAGraph, Result]:
        # Not `torch.cuda.graph`: it empties torch's cache for each graph, and there are hundreds of graphs.
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
    """Tensors with fixed addresses, by name and shape."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._kept: dict[tuple[str, tuple[int, ...], torch.dtype], Tensor] = {}

    def get(self, name: str, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """The buffer of that name, shape and type; zeros when it is new."""
        key = (name, shape, dtype)
        if key not in self._kept:
            self._kept[key] = torch.zeros(shape, dtype=dtype, device=self._device)
        return self._kept[key]

    def like(self, name: str, tensor: Tensor) -> Tensor:
        """The buffer of that name with the shape and type of `tensor`, and a copy of its values."""
        own = self.get(name, tuple(tensor.shape), tensor.dtype)
        own.copy_(tensor)
        return own


class Calls:
    """Runs functions of tensors as CUDA graphs, one graph for each function and shape."""

    def __init__(self, captures: Captures, buffers: Buffers) -> None:
        self._captures, self._buffers = captures, buffers

    def __call__(self, name: str, function: Callable[..., tuple[Tensor, ...]], *inputs: Tensor) -> tuple[Tensor, ...]:
        """Calls the function; the result is valid until the next call of that name with that shape.

        Args:
            name: identifies the function, which may depend on nothing else that changes.
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
