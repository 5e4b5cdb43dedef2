"""Watches the backbone's layers while an engine works: what each layer of each pass got and gave.

It looks on through forward hooks and changes nothing. Knows neither requests nor what is made of what it sees.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from flashu_core.model.backbone import DecoderLayer
from flashu_core.model.self_attention import Context
from flashu_core.model.showo2 import Showo2


@dataclass(frozen=True, slots=True, eq=False)
class LayerPass:
    """One layer in one pass.

    Attributes:
        index: which layer, counted from 0.
        layer: its weights.
        before, after: its input and output, (R, L, width).
        context: what all layers of the pass share. While the layer is seen its caches hold the pass's keys and values
            beyond their length; later passes write over them.
    """

    index: int
    layer: DecoderLayer
    before: Tensor
    after: Tensor
    context: Context

    @property
    def is_prefix(self) -> bool:
        """Whether it reads text ahead of the first evaluation: more than one token, and no picture among them."""
        return self.context.block == 0 and self.before.shape[1] > 1


@contextmanager
def watch_layers(model: Showo2, see: Callable[[LayerPass], None]) -> Iterator[None]:
    """Inside the block, `see` is called for every layer of every pass, in the order in which they run."""

    def watch(index: int, layer: DecoderLayer) -> Callable[[nn.Module, tuple[Any, ...], Tensor], None]:
        def hook(_: nn.Module, given: tuple[Any, ...], after: Tensor) -> None:
            before, _, context = given[:3]
            see(LayerPass(index, layer, before, after, context))

        return hook

    with ExitStack() as hooks:
        for index, layer in enumerate(model.backbone.layers):
            assert isinstance(layer, DecoderLayer)
            hooks.callback(layer.register_forward_hook(watch(index, layer)).remove)
        hooks.enter_context(model.eager())
        yield
