"""Task specialisation of FFN neurons (arXiv 2603.15271, section 3.2.1, figure 1): what an FFN's output loses when only
the neurons run that one task finds important, on activations of the same task and of the other.

Knows scores and activations as numbers; which requests they were measured on is the caller's to know.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from flashu_core.acceleration.calibration import TASKS
from flashu_core.acceleration.neurons import kept, kept_count
from flashu_core.model.backbone import DecoderLayer
from flashu_core.model.ffn import GatedFFN
from flashu_core.model.showo2 import Showo2
from flashu_core.types import Task

RATIOS = (0.1, 0.2, 0.3, 0.5, 0.7)
SAMPLED = 1024  # tokens kept of each layer and task


@dataclass(frozen=True, kw_only=True, slots=True)
class Specialisation:
    """How far the two tasks use different neurons.

    Attributes:
        ratios: shares of the neurons that are pruned.
        kept: how many stay for each ratio, of `neurons`.
        errors: `errors[data][neurons][ratio][layer]`: relative L2 error of a layer's FFN output on activations of the
            task `data` when the neurons stay that are important to the task `neurons`; 0 is exact.
        overlap: `overlap[ratio][layer]`: share of the kept neurons that both tasks keep; `kept / neurons` by chance.
    """

    ratios: tuple[float, ...]
    neurons: int
    kept: tuple[int, ...]
    errors: Mapping[Task, Mapping[Task, Sequence[Sequence[float]]]]
    overlap: Sequence[Sequence[float]]


class TokenSample:
    """A uniform sample of tokens that come in pieces: each draws a number, and the smallest numbers stay.

    Args:
        most: tokens kept at most.
        seed: of the numbers.
    """

    def __init__(self, maximum: int, seed: int) -> None:
        self._most = maximum
        self._generator = torch.Generator().manual_seed(seed)
        self._numbers = torch.empty(0)
        self._tokens: Tensor | None = None

    def add(self, tokens: Tensor) -> None:
        """Takes tokens (N, width)."""
        numbers = torch.cat([self._numbers, torch.rand(len(tokens), generator=self._generator)])
        stay = numbers.topk(min(self._most, len(numbers)), largest=False).indices
        known = tokens if self._tokens is None else torch.cat([self._tokens, tokens])
        self._numbers, self._tokens = numbers[stay], known[stay.to(tokens.device)]

    @property
    def tokens(self) -> Tensor:
        """Those that stayed, (up to `maximum`, width), in no particular order."""
        assert self._tokens is not None, "no token ran through the layer while it was watched"
        return self._tokens


@contextmanager
def ffn_inputs(model: Showo2, maximum: int = SAMPLED) -> Iterator[Callable[[], list[Tensor]]]:
    """Watches the backbone's FFNs inside the block; the call it gives returns for each layer a sample of its inputs,
    (up to `maximum`, width)."""
    samples = [TokenSample(maximum, index) for index in range(model.config.backbone.layers)]

    def watch(sample: TokenSample) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def take(_: nn.Module, given: tuple[Tensor, ...], __: Tensor) -> None:
            sample.add(given[0].flatten(0, -2))

        return take

    with ExitStack() as hooks:
        for sample, ffn in zip(samples, _ffns(model), strict=True):
            hooks.callback(ffn.register_forward_hook(watch(sample)).remove)
        hooks.enter_context(model.eager())
        yield lambda: [sample.tokens for sample in samples]


@torch.inference_mode()
def reconstruction_errors(ffn: GatedFFN, tokens: Tensor, stay: Sequence[Tensor]) -> list[float]:
    """Relative L2 errors of an FFN's output, `|FFN(x) - FFN_kept(x)| / |FFN(x)|` over all tokens together.

    Args:
        ffn: with all its neurons.
        tokens: (N, width), its inputs.
        stay: one set of neurons for each error, as indices.
    """
    activations, weight = ffn.activations(tokens).float(), ffn.down_proj.weight.float()
    whole = float(functional.linear(activations, weight).norm())
    errors = []
    for neurons in stay:
        gone = torch.ones(weight.shape[1], dtype=torch.bool, device=weight.device)
        gone[neurons.to(weight.device)] = False
        # What is lost is the others' share of the sum, so no difference of two rounded sums is needed.
        lost = float(functional.linear(activations[:, gone], weight[:, gone]).norm())
        errors.append(lost / whole if whole > 0 else 0.0)
    return errors


def specialisation(
    model: Showo2,
    scores: Mapping[Task, Tensor],
    inputs: Mapping[Task, Sequence[Tensor]],
    ratios: Sequence[float] = RATIOS,
) -> Specialisation:
    """Compares the tasks' neurons, chosen as the engine chooses them.

    Args:
        model: its neurons in the order of the scores.
        scores: of each task, (layers, neurons).
        inputs: of each task and layer, the FFN's inputs (N, width).
        ratios: shares that are pruned.
    """
    count = model.config.backbone.ffn_size
    errors: dict[Task, dict[Task, list[list[float]]]] = {data: {task: [] for task in TASKS} for data in TASKS}
    overlap: list[list[float]] = []
    for index, ffn in enumerate(_ffns(model)):
        stay = {task: [kept(scores[task][index].cpu(), ratio) for ratio in ratios] for task in TASKS}
        for data in TASKS:
            for task in TASKS:
                errors[data][task].append(reconstruction_errors(ffn, inputs[data][index], stay[task]))
        pairs = zip(*(stay[task] for task in TASKS), strict=True)
        overlap.append([float(torch.isin(one, other).float().mean()) for one, other in pairs])
    return Specialisation(
        ratios=tuple(ratios),
        neurons=count,
        kept=tuple(kept_count(count, ratio) for ratio in ratios),
        errors={data: {task: _by_ratio(rows) for task, rows in by_task.items()} for data, by_task in errors.items()},
        overlap=_by_ratio(overlap),
    )


def _by_ratio(rows: Sequence[Sequence[float]]) -> list[list[float]]:
    """From one row for each layer to one row for each ratio."""
    return [list(column) for column in zip(*rows, strict=True)]


def _ffns(model: Showo2) -> Iterator[GatedFFN]:
    for layer in model.backbone.layers:
        assert isinstance(layer, DecoderLayer)
        yield layer.mlp
