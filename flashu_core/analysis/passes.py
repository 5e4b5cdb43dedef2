"""Records the input and output of each backbone layer in each pass, by forward hooks that change nothing."""

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
        index: of the layer, counted from 0.
        layer: the module.
        before, after: its input and output, (R, L, width).
        context: shared by all layers of the pass. During the hook, its caches hold the pass's keys and values beyond
            their length; later passes overwrite them.
    """

    index: int
    layer: DecoderLayer
    before: Tensor
    after: Tensor
    context: Context

    @property
    def is_prefix(self) -> bool:
        """Whether it is a pass over a text prefix, before the first denoising step or prefill: more than one token, and
        no picture."""
        return self.context.block == 0 and self.before.shape[1] > 1


@contextmanager
def watch_layers(model: Showo2, see: Callable[[LayerPass], None]) -> Iterator[None]:
    """Calls `see` for every layer of every pass within the `with` block, in the order in which they run."""

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
