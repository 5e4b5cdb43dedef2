"""Similarity of each layer's input and output, over a picture's denoising steps and an answer's tokens (arXiv
2603.15271, figures 2 and 4, equations 6 and 7)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from flashu_core.analysis.passes import LayerPass, watch_layers
from flashu_core.model.showo2 import Showo2
from flashu_core.types import Task

# A picture's similarity is the mean over its image block, an answer's is that at the last position.
POSITIONS: Mapping[Task, slice] = {"generate": slice(None), "vqa": slice(-1, None)}


@dataclass(frozen=True, kw_only=True, slots=True)
class Similarity:
    """Means over several requests.

    Attributes:
        task: of the requests; an answer's first step is its prefill, which gives the first token.
        cosine: `cosine[layer][step]`, in [-1, 1].
        requests: for each step, the number of requests that have it.
    """

    task: Task
    cosine: Sequence[Sequence[float]]
    requests: Sequence[int]


@contextmanager
def similarities(model: Showo2, task: Task) -> Iterator[Callable[[], Tensor]]:
    """Records one request with policy `exact` within the `with` block; the returned function gives the cosines of every
    layer and step, (layers, steps) float32 on the CPU."""
    found: list[list[Tensor]] = [[] for _ in range(model.config.backbone.layers)]
    positions = POSITIONS[task]

    def measure(seen: LayerPass) -> None:
        if not seen.is_prefix:
            before, after = (tokens[:, positions].float() for tokens in (seen.before, seen.after))
            found[seen.index].append(functional.cosine_similarity(before, after, dim=-1).mean())

    with watch_layers(model, measure):
        yield lambda: torch.stack([torch.stack(row) for row in found]).cpu()


def mean_similarity(task: Task, requests: Sequence[Tensor]) -> Similarity:
    """The mean of several requests' cosines, (layers, steps) each; numbers of steps may differ."""
    layers, longest = requests[0].shape[0], max(cosine.shape[1] for cosine in requests)
    total, count = torch.zeros(layers, longest), torch.zeros(longest, dtype=torch.int64)
    for cosine in requests:
        total[:, : cosine.shape[1]] += cosine
        count[: cosine.shape[1]] += 1
    return Similarity(task=task, cosine=(total / count).tolist(), requests=count.tolist())
