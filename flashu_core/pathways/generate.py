"""Drawing: the denoising loop, one evaluation at a time for a batch of requests.

What never changes is computed once: a prompt's text runs through backbone and head when its request begins, the null
prompt's when the process does. An evaluation computes image blocks only: features once for both branches, then text and
null branches together. A request's whole running state is its `Generation`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from flashu_core.kv_cache import KeyValueCache
from flashu_core.model.showo2 import Showo2
from flashu_core.plan import Schedule, StepPlan
from flashu_core.sampler import euler, guide
from flashu_core.timing import Spans


@dataclass(frozen=True, slots=True)
class Branch:
    """A prompt's text as keys and values, in the backbone's layers and in the head's."""

    backbone: KeyValueCache
    head: KeyValueCache

    def fork(self, rows: int, block: int) -> Branch:
        """A copy for `rows` pictures with room for an image block of that many tokens."""
        capacity = self.backbone.length + block
        return Branch(self.backbone.fork(rows=rows, capacity=capacity), self.head.fork(rows=rows, capacity=capacity))


@dataclass(slots=True)
class Generation:
    """The running state of one request.

    Attributes:
        schedule: one plan for each evaluation.
        times: the grid; evaluation i goes from times[i] to times[i + 1].
        latents: (images, C, H, W) float32.
        text, null: the branches, one row for each image.
        evaluation: how many have run; backbone_passes, head_passes: how often each ran for them.
    """

    schedule: Schedule
    times: Sequence[float]
    grid: tuple[int, int]
    latents: Tensor
    text: Branch
    null: Branch
    evaluation: int = 0
    backbone_passes: int = 0
    head_passes: int = 0
    spans: list[Spans] = field(default_factory=list)

    @property
    def done(self) -> bool:
        """Whether every evaluation has run."""
        return self.evaluation == len(self.schedule)

    @property
    def plan(self) -> StepPlan:
        """The next evaluation's plan."""
        return self.schedule[self.evaluation]

    @property
    def rows(self) -> int:
        """Pictures of this request."""
        return self.latents.shape[0]


@torch.inference_mode()
def read_prompt(model: Showo2, ids: Sequence[int]) -> Branch:
    """Runs a prompt's text (`bos text image_start`) through backbone and head."""
    branch = Branch(model.backbone_cache(1, len(ids)), model.head_cache(1, len(ids)))
    hidden = model.run_backbone(model.embed(ids), [branch.backbone], block=0)
    model.run_head(hidden, None, [branch.head], block=0)
    branch.backbone.keep(len(ids))
    branch.head.keep(len(ids))
    return branch


def begin(model: Showo2, *, text: Branch, null: Branch, noise: Tensor, schedule: Schedule, times: Tensor) -> Generation:
    """The state before the first evaluation.

    Args:
        text, null: the prompts' branches; they are copied, not changed.
        noise: (images, C, H, W) latents at time 0.
        schedule: the plans.
        times: (len(schedule) + 1,)
    """
    patch = model.config.patch_size
    rows, columns = noise.shape[-2] // patch, noise.shape[-1] // patch
    block = rows * columns + model.config.block_extra
    return Generation(
        schedule=schedule,
        times=times.tolist(),
        grid=(rows, columns),
        latents=noise.to(model.device, torch.float32),
        text=text.fork(noise.shape[0], block),
        null=null.fork(noise.shape[0], block),
    )


@torch.inference_mode()
def advance(model: Showo2, batch: Sequence[Generation], spans: Spans) -> None:
    """Runs the next evaluation of each request; all must draw on the same grid.

    Requests at different evaluations, with different prompts and guidance, share the arithmetic and nothing else.
    """
    readers = [generation for generation in batch if generation.plan.reads_text]
    guided = [generation for generation in batch if generation.plan.reads_null]
    branches = [g.text for g in readers] + [g.null for g in guided]
    picture = _picture_rows(batch, readers, guided, model.device)
    with spans.span("features"):
        latents = torch.cat([generation.latents for generation in batch])
        times = torch.tensor([g.times[g.evaluation] for g in batch for _ in range(g.rows)], device=model.device)
        time, token = model.time_tokens(times)
        block = model.image_block(model.vision(latents), token)[picture]
    size = block.shape[1]
    with spans.span("backbone"):
        hidden = model.run_backbone(block, [branch.backbone for branch in branches], block=size)
    with spans.span("head"):
        time = time[picture]
        state = model.run_head(hidden, time, [branch.head for branch in branches], block=size)
        velocities = model.velocity(state, time, batch[0].grid)
    with spans.span("guidance"):
        parts = velocities.split([generation.rows for generation in (*readers, *guided)])
        texts, nulls = iter(parts[: len(readers)]), iter(parts[len(readers) :])
        for generation in batch:
            plan = generation.plan
            if plan.reads_text and plan.reads_null:
                velocity = guide(next(texts), next(nulls), plan.guidance)
            else:
                velocity = next(texts) if plan.reads_text else next(nulls)
            index = generation.evaluation
            start, end = generation.times[index], generation.times[index + 1]
            generation.latents = euler(generation.latents, velocity, start, end)
    for generation in batch:
        generation.evaluation += 1
        generation.backbone_passes += 1
        generation.head_passes += 1
        generation.spans.append(spans)


def _picture_rows(
    batch: Sequence[Generation], readers: Sequence[Generation], guided: Sequence[Generation], device: torch.device
) -> Tensor:
    """For each row of the pass (text branches, then null branches) the picture it reads."""
    first, starts = 0, {}
    for generation in batch:
        starts[id(generation)] = first
        first += generation.rows
    rows = [starts[id(g)] + row for g in (*readers, *guided) for row in range(g.rows)]
    return torch.tensor(rows, device=device)
