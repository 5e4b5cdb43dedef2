"""Paths through the FFNs as views of one copy of the weights, and the order of neurons that makes them so.

Each layer's neurons are put in the order [kept for generation only | kept for both | kept for understanding only |
neither]: generation's path is then one slice, understanding's another, and all of them the whole. Reordering changes no
output. Knows scores as numbers only; where they come from is `calibration`'s.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from flashu_core.acceleration.policies import kept_count
from flashu_core.lru_cache import LruCache
from flashu_core.model.backbone import DecoderLayer
from flashu_core.model.pass_options import Neurons
from flashu_core.model.showo2 import Showo2
from flashu_core.types import Task

ALIGNED = 8  # slices start at a multiple of this
GATHERED = 8  # paths of other ratios that are kept, an index for each of their neurons


@dataclass(frozen=True, slots=True, eq=False)
class NeuronPath:
    """Which neurons run in every layer.

    Attributes:
        name: tells paths of one model apart: paths of one name run the same neurons.
        layers: the neurons of each layer; None is all of them.
    """

    name: str
    layers: Sequence[Neurons] | None


FULL = NeuronPath("full", None)


def kept(scores: Tensor, ratio: float) -> Tensor:
    """Indices of the neurons that stay, ascending, for the scores (neurons,) of one layer."""
    order = torch.argsort(scores, descending=True, stable=True)
    return order[: kept_count(scores.numel(), ratio)].sort().values


@dataclass(frozen=True, slots=True, eq=False)
class Arrangement:
    """The order of one layer's neurons, (neurons,), and where each task's are in it."""

    order: Tensor
    slices: Mapping[Task, slice]


def arrange(scores: Mapping[Task, Tensor], ratios: Mapping[Task, float]) -> Arrangement:
    """Orders the neurons of one layer so that both tasks' are contiguous.

    Some neurons at the edge of being pruned may change places so that the second slice starts at a multiple of 8.

    Args:
        scores: of each task, (neurons,).
        ratios: share each task prunes.
    """
    count = scores["generate"].numel()
    generates, reads = (
        torch.zeros(count, dtype=torch.bool).index_fill_(0, kept(scores[task], ratios[task]).cpu(), True)
        for task in ("generate", "vqa")
    )
    worth = scores["generate"].float().cpu()
    for _ in range(int((generates & ~reads).sum()) % ALIGNED):
        leaving, joining = (
            torch.where(generates & ~reads, worth, torch.inf),
            torch.where(reads & ~generates, worth, -torch.inf),
        )
        if not (reads & ~generates).any():
            break
        generates[leaving.argmin()], generates[joining.argmax()] = False, True
    groups = (generates & ~reads, generates & reads, reads & ~generates, ~generates & ~reads)
    alone, both, other, _ = (int(group.sum()) for group in groups)
    order = torch.cat([group.nonzero()[:, 0] for group in groups])
    return Arrangement(order, {"generate": slice(0, alone + both), "vqa": slice(alone, alone + both + other)})


@torch.no_grad()
def reorder(model: Showo2, orders: Sequence[Tensor]) -> None:
    """Puts every layer's neurons in a new order, one layer at a time, so that memory holds one layer twice at most."""
    for layer, order in zip(model.backbone.layers, orders, strict=True):
        assert isinstance(layer, DecoderLayer)
        mlp, index = layer.mlp, order.to(model.device)
        mlp.gate_proj.weight.copy_(mlp.gate_proj.weight[index])
        mlp.up_proj.weight.copy_(mlp.up_proj.weight[index])
        mlp.down_proj.weight.copy_(mlp.down_proj.weight[:, index])


@dataclass(slots=True, eq=False)
class NeuronPaths:
    """The paths of one model.

    Attributes:
        scores: of each task, (layers, neurons), in the order the model has them.
        slices: for each task and layer where the neurons of its own ratio are.
        ratios: those ratios; another number of neurons is gathered from the weights whenever it is used.
    """

    scores: Mapping[Task, Tensor]
    slices: Mapping[Task, Sequence[slice]]
    ratios: Mapping[Task, float]
    _gathered: LruCache[tuple[Task, int], NeuronPath] = field(default_factory=lambda: LruCache(GATHERED))

    @classmethod
    def of(cls, model: Showo2, scores: Mapping[Task, Tensor], ratios: Mapping[Task, float]) -> NeuronPaths:
        """Reorders a model's neurons by scores (layers, neurons) in its present order."""
        layers = model.config.backbone.layers
        arranged = [arrange({task: scores[task][layer] for task in scores}, ratios) for layer in range(layers)]
        reorder(model, [one.order for one in arranged])
        moved = {
            task: torch.stack([scores[task][layer].cpu()[one.order] for layer, one in enumerate(arranged)])
            for task in scores
        }
        return cls(moved, {task: [one.slices[task] for one in arranged] for task in scores}, dict(ratios))

    def path(self, task: Task, ratio: float, device: torch.device) -> NeuronPath:
        """The path of a task that prunes the share `ratio`.

        Ratios that keep the same number of neurons are the same path: which neurons run depends on nothing else.
        """
        neurons = self.scores[task].shape[1]
        count = kept_count(neurons, ratio)
        if count == neurons:
            return FULL
        name = f"{task} {count}"
        if count == kept_count(neurons, self.ratios[task]):
            return NeuronPath(name, self.slices[task])
        return self._gathered.get(
            (task, count), lambda: NeuronPath(name, [kept(row, ratio).to(device) for row in self.scores[task]])
        )

    @property
    def nbytes(self) -> int:
        """Bytes of the indices that are kept for other ratios than the tasks' own."""
        return sum(
            neurons.nbytes for path in self._gathered for neurons in path.layers or () if isinstance(neurons, Tensor)
        )
