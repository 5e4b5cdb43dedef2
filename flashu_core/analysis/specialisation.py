"""Task specialisation of FFN neurons (arXiv 2603.15271, section 3.2.1, figure 1): the error of an FFN's output with
only the neurons that are important to one task, on activations of the same task and of the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from flashu_core.acceleration.calibration import TASKS
from flashu_core.acceleration.neurons import kept
from flashu_core.acceleration.policies import kept_count
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
        kept: number of kept neurons for each ratio, of `neurons`.
        errors: `errors[data][neurons][ratio][layer]`: relative L2 error of a layer's FFN output on activations of the
            task `data` with only the neurons kept that are important to the task `neurons`; 0 is exact.
        overlap: `overlap[ratio][layer]`: share of the kept neurons that both tasks keep; by chance `kept / neurons`.
    """

    ratios: tuple[float, ...]
    neurons: int
    kept: tuple[int, ...]
    errors: Mapping[Task, Mapping[Task, Sequence[Sequence[float]]]]
    overlap: Sequence[Sequence[float]]


class TokenSample:
    """A uniform sample of a stream of tokens: each gets a random number, and those with the smallest are kept.

    Args:
        maximum: size of the sample.
        seed: of the random numbers.
    """

    def __init__(self, maximum: int, seed: int) -> None:
        self._maximum = maximum
        self._generator = torch.Generator().manual_seed(seed)
        self._numbers = torch.empty(0)
        self._tokens: Tensor | None = None

    def add(self, tokens: Tensor) -> None:
        """Adds tokens (N, width) to the stream."""
        numbers = torch.cat([self._numbers, torch.rand(len(tokens), generator=self._generator)])
        stay = numbers.topk(min(self._maximum, len(numbers)), largest=False).indices
        known = tokens if self._tokens is None else torch.cat([self._tokens, tokens])
        self._numbers, self._tokens = numbers[stay], known[stay.to(tokens.device)]

    @property
    def tokens(self) -> Tensor:
        """The sample, (up to `maximum`, width), in no particular order."""
        assert self._tokens is not None, "no token ran through the layer"
        return self._tokens


@contextmanager
def ffn_inputs(model: Showo2, maximum: int = SAMPLED) -> Iterator[Callable[[], list[Tensor]]]:
    """Records the inputs of the backbone's FFNs within the `with` block; the returned function gives a sample of them
    for each layer, (up to `maximum`, width)."""
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
    """Relative L2 errors of an FFN's output, `|FFN(x) - FFN_kept(x)| / |FFN(x)|`, over all tokens together.

    Args:
        ffn: with all its neurons.
        tokens: (N, width), its inputs.
        stay: indices of the kept neurons, one set for each error.
    """
    activations, weight = ffn.activations(tokens).float(), ffn.down_proj.weight.float()
    whole = float(functional.linear(activations, weight).norm())
    errors = []
    for neurons in stay:
        gone = torch.ones(weight.shape[1], dtype=torch.bool, device=weight.device)
        gone[neurons.to(weight.device)] = False
        # The error is the pruned neurons' part of the sum, so no difference of two rounded sums is needed.
        lost = float(functional.linear(activations[:, gone], weight[:, gone]).norm())
        errors.append(lost / whole if whole > 0 else 0.0)
    return errors


def specialisation(
    model: Showo2,
    scores: Mapping[Task, Tensor],
    inputs: Mapping[Task, Sequence[Tensor]],
    ratios: Sequence[float] = RATIOS,
) -> Specialisation:
    """Compares the tasks' important neurons, chosen as the engine chooses them.

    Args:
        model: with its neurons in the order of the scores.
        scores: importances for each task, (layers, neurons).
        inputs: the FFN's inputs (N, width) for each task and layer.
        ratios: pruning ratios.
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
    """Transposes rows per layer to rows per ratio."""
    return [list(column) for column in zip(*rows, strict=True)]


def _ffns(model: Showo2) -> Iterator[GatedFFN]:
    for layer in model.backbone.layers:
        assert isinstance(layer, DecoderLayer)
        yield layer.mlp
