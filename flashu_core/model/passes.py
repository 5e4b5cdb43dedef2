"""What `Showo2` needs of another implementation of its passes, as `graphed` has for a GPU."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor

from flashu_core.model.kv_cache import KeyValueCache
from flashu_core.model.kv_pool import KeyValuePool, PooledCache
from flashu_core.model.pass_options import PassOptions, Trace


class Stack(Protocol):
    """The passes over one stack of layers."""

    @property
    def pool(self) -> KeyValuePool:
        """Memory of its caches."""

    def holds(self, caches: Sequence[KeyValueCache], length: int) -> bool:
        """Whether a pass of that length can run over these caches."""


class Passes(Protocol):
    """Passes of a whole Show-o2, each as the method of `Showo2` of the same name."""

    @property
    def backbone(self) -> Stack: ...
    @property
    def head(self) -> Stack: ...
    @property
    def pool_bytes(self) -> int:
        """Bytes of both pools, free or not."""

    def features(self, latents: Tensor) -> Tensor: ...
    def time_tokens(self, times: Tensor) -> tuple[Tensor, Tensor]: ...
    def velocity(self, state: Tensor, time: Tensor, grid: tuple[int, int]) -> Tensor: ...
    def run_backbone(
        self, x: Tensor, caches: Sequence[PooledCache], *, block: int, options: PassOptions
    ) -> tuple[Tensor, Trace]: ...
    def run_head(self, hidden: Tensor, time: Tensor | None, caches: Sequence[PooledCache], *, block: int) -> Tensor: ...
