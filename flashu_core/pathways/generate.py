"""Generation: the denoising loop, one step at a time for a batch of requests.

What never changes is computed once: a prompt's text runs through backbone and head when some path first needs it, the
unconditional prompt's once in a process. A step computes image blocks only, and of those what its plan says: features
once for both branches, then both branches together. A request's whole running state is its `Generation`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from flashu_core.acceleration.neurons import FULL, NeuronPath
from flashu_core.acceleration.plan import Schedule, StepPlan
from flashu_core.lru_cache import LruCache
from flashu_core.model.kv_cache import KeyValueCache
from flashu_core.model.pass_options import PassOptions, Trace
from flashu_core.model.sampler import euler, guide
from flashu_core.model.showo2 import Showo2
from flashu_core.timing import Spans, to_device
from flashu_core.types import DenoisingStep

ALL_LAYERS: frozenset[int] = frozenset()
WAYS = 4  # in which a prompt's text is kept as it was read: all neurons, pruned, and pruned without two sets of layers


@dataclass(frozen=True, slots=True)
class Branch:
    """A prompt's text as keys and values, in the backbone's layers and in the head's."""

    backbone: KeyValueCache
    head: KeyValueCache

    def fork(self, rows: int, block: int) -> Branch:
        """A copy for `rows` pictures with room for an image block of that many tokens."""
        capacity = self.backbone.length + block
        return Branch(self.backbone.fork(rows=rows, capacity=capacity), self.head.fork(rows=rows, capacity=capacity))

    @property
    def nbytes(self) -> int:
        """Bytes of both."""
        return self.backbone.nbytes + self.head.nbytes


@dataclass(slots=True)
class Prompt:
    """A prompt's ids (`bos text image_start`) and what was read of them.

    Keys and values depend on the neurons and layers that ran, so there is a branch for each way; the `ways` last used
    are kept.
    """

    ids: Sequence[int]
    ways: int = WAYS
    _read: LruCache[tuple[str, frozenset[int]], Branch] = field(init=False)

    def __post_init__(self) -> None:
        self._read = LruCache(self.ways)

    def read(self, model: Showo2, path: NeuronPath = FULL, skipped: frozenset[int] = ALL_LAYERS) -> Branch:
        """The text's branch on that path, run through backbone and head on first use."""
        return self._read.get((path.name, skipped), lambda: self._run(model, path, skipped))

    @property
    def nbytes(self) -> int:
        """Bytes of what was read."""
        return sum(branch.nbytes for branch in self._read)

    @torch.inference_mode()
    def _run(self, model: Showo2, path: NeuronPath, skipped: frozenset[int]) -> Branch:
        length = len(self.ids)
        branch = Branch(model.backbone_cache(1, length), model.head_cache(1, length))
        options = PassOptions(neurons=path.layers, skipped=(skipped,))
        hidden, _ = model.run_backbone(model.embed(self.ids), [branch.backbone], block=0, options=options)
        model.run_head(hidden, None, [branch.head], block=0)
        branch.backbone.keep(length)
        branch.head.keep(length)
        return branch


@dataclass(slots=True)
class Side:
    """One branch of one request: its prompt, and the buffers that image blocks are written into behind it.

    Attributes:
        branch: one row for each picture; holds the prompt as read on the path `loaded`.
        state: the head's state that later steps use again, (pictures, block, head width).
    """

    prompt: Prompt
    branch: Branch
    loaded: tuple[str, frozenset[int]]
    state: Tensor | None = None

    def load(self, model: Showo2, path: NeuronPath, skipped: frozenset[int]) -> None:
        """Puts the prompt before the block as that path reads it."""
        if self.loaded != (path.name, skipped):
            prefix = self.prompt.read(model, path, skipped)
            self.branch.backbone.take(prefix.backbone)
            self.branch.head.take(prefix.head)
            self.loaded = (path.name, skipped)


@dataclass(slots=True)
class Generation:
    """The running state of one request.

    Attributes:
        schedule: one plan for each step.
        times: the grid; step i goes from times[i] to times[i + 1].
        latents: (images, C, H, W) float32.
        cond, uncond: the branches.
        pruned: the neurons of steps whose plan says "pruned".
        skipped: the layers that were last measured as similar.
        velocity: the last step's, guided, as the latents.
        step: how many have run.
        ran: what each of them was.
        counts: the sums of it: `backbone_full`, `backbone_pruned`, `head_computed`, `head_reused`, `layers_skipped`.
    """

    schedule: Schedule
    times: Sequence[float]
    grid: tuple[int, int]
    latents: Tensor
    cond: Side
    uncond: Side
    pruned: NeuronPath = FULL
    skipped: frozenset[int] = ALL_LAYERS
    velocity: Tensor | None = None
    step: int = 0
    ran: list[DenoisingStep] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    spans: list[Spans] = field(default_factory=list)

    @property
    def done(self) -> bool:
        """Whether every step has run."""
        return self.step == len(self.schedule)

    @property
    def plan(self) -> StepPlan:
        """The next step's plan."""
        return self.schedule[self.step]

    @property
    def path(self) -> NeuronPath:
        """The neurons of the next step."""
        return self.pruned if self.plan.ffn == "pruned" else FULL

    @property
    def skipped_layers(self) -> frozenset[int]:
        """The layers that the next step skips."""
        return self.skipped if self.plan.layers == "measured" else ALL_LAYERS

    @property
    def work(self) -> tuple[object, ...]:
        """Requests that agree on this can share the next step's pass."""
        return (self.plan.head, self.plan.run_backbone, self.path.name if self.plan.run_backbone else None)

    @property
    def estimate(self) -> Tensor:
        """The latents at time 1 if the last velocity held, as they are before the first step."""
        if self.velocity is None:
            return self.latents
        return euler(self.latents, self.velocity, self.times[self.step], 1.0)

    @property
    def rows(self) -> int:
        """Pictures of this request."""
        return self.latents.shape[0]


@torch.inference_mode()
def begin(
    model: Showo2,
    *,
    cond: Prompt,
    uncond: Prompt,
    noise: Tensor,
    schedule: Schedule,
    times: Tensor,
    pruned: NeuronPath = FULL,
) -> Generation:
    """The state before the first step, its prompts read as that step needs them.

    Args:
        cond, uncond: the prompts; they may be shared by several requests.
        noise: (images, C, H, W) latents at time 0.
        schedule: the plans.
        times: (len(schedule) + 1,)
        pruned: the neurons that "pruned" in a plan means.
    """
    patch = model.config.patch_size
    rows, columns = noise.shape[-2] // patch, noise.shape[-1] // patch
    block = rows * columns + model.config.block_extra
    path = pruned if schedule[0].ffn == "pruned" else FULL

    def side(prompt: Prompt) -> Side:
        branch = prompt.read(model, path).fork(noise.shape[0], block)
        return Side(prompt, branch, (path.name, ALL_LAYERS))

    return Generation(
        schedule=schedule,
        times=times.tolist(),
        grid=(rows, columns),
        latents=noise.to(model.device, torch.float32),
        cond=side(cond),
        uncond=side(uncond),
        pruned=pruned,
    )


@torch.inference_mode()
def advance(model: Showo2, batch: Sequence[Generation], spans: Spans) -> None:
    """Runs the next step of each request; all must have the same grid of image tokens and agree on their `work`.

    Requests at different steps, with different prompts, guidance and skipped layers, share the arithmetic and
    nothing else.
    """
    plan = batch[0].plan
    skipped = [len(generation.skipped_layers) for generation in batch]  # before a new measurement takes their place
    reading = [(g, g.cond) for g in batch if g.plan.reads_cond] + [(g, g.uncond) for g in batch if g.plan.reads_uncond]
    running = [(g, g.cond) for g in batch if g.plan.run_cond] + [(g, g.uncond) for g in batch if g.plan.run_uncond]
    with spans.span("features"):
        times = to_device([g.times[g.step] for g in batch for _ in range(g.rows)], model.device)
        time, token = model.time_tokens(times)
        if plan.run_backbone:
            latents = torch.cat([generation.latents for generation in batch])
            block = model.image_block(model.features(latents), token)
    if plan.run_backbone:
        with spans.span("prefix"):
            for generation, side in running:
                side.load(model, generation.path, generation.skipped_layers)
        with spans.span("backbone"):
            hidden = _run_backbone(model, batch, running, block[_picture_rows(batch, running, model.device)])
    with spans.span("head"):
        if plan.head == "compute":
            computed = time[_picture_rows(batch, running, model.device)]
            caches = [side.branch.head for _, side in running]
            states = model.run_head(hidden, computed, caches, block=hidden.shape[1])
            for (_, side), state in zip(running, states.split([g.rows for g, _ in running]), strict=True):
                side.state = state
        if plan.head == "reuse" or len(reading) < len(running):
            states = torch.cat([side.state for _, side in reading if side.state is not None])
        velocities = model.velocity(states, time[_picture_rows(batch, reading, model.device)], batch[0].grid)
    with spans.span("guidance"):
        parts = dict(
            zip((id(side) for _, side in reading), velocities.split([g.rows for g, _ in reading]), strict=True)
        )
        for generation in batch:
            _move(generation, parts)
    for generation, layers in zip(batch, skipped, strict=True):
        _count(generation, layers)
        if plan.head == "compute" and not generation.plan.keep_head:
            generation.cond.state = generation.uncond.state = None
        generation.step += 1
        generation.spans.append(spans)


def _run_backbone(
    model: Showo2, batch: Sequence[Generation], running: Sequence[tuple[Generation, Side]], block: Tensor
) -> Tensor:
    """One pass over the running branches' rows; a request that measures chooses its layers for the steps to come."""
    skipped_layers = [generation.skipped_layers for generation, _ in running]
    measuring = any(generation.plan.measure for generation in batch)
    options = PassOptions(
        neurons=batch[0].path.layers,
        skipped=skipped_layers if any(skipped_layers) else (),
        measured=slice(0, block.shape[1]) if measuring else None,
    )
    caches = [side.branch.backbone for _, side in running]
    hidden, trace = model.run_backbone(block, caches, block=block.shape[1], options=options)
    if measuring:
        _observe(batch, running, trace)
    return hidden


def _observe(batch: Sequence[Generation], running: Sequence[tuple[Generation, Side]], trace: Trace) -> None:
    similarity = torch.stack(trace.similarity)  # (layers, rows)
    parts = similarity.split([generation.rows for generation, _ in running], dim=1)
    for generation in batch:
        if generation.plan.measure:
            own = [part for (owner, _), part in zip(running, parts, strict=True) if owner is generation]
            generation.skipped = generation.plan.measure.observe(torch.cat(own, dim=1).mean(dim=1).tolist())


def _move(generation: Generation, velocities: dict[int, Tensor]) -> None:
    """One Euler step along the guided velocity."""
    plan, index = generation.plan, generation.step
    if plan.reads_cond and plan.reads_uncond:
        velocity = guide(velocities[id(generation.cond)], velocities[id(generation.uncond)], plan.guidance_scale)
    else:
        velocity = velocities[id(generation.cond if plan.reads_cond else generation.uncond)]
    generation.velocity = velocity
    start, end = generation.times[index], generation.times[index + 1]
    generation.latents = euler(generation.latents, velocity, start, end)


def _count(generation: Generation, layers: int) -> None:
    """Notes what ran, `layers` being the skipped ones."""
    plan, counts = generation.plan, generation.counts
    ran = DenoisingStep(
        backbone=plan.ffn if plan.run_backbone else "not_needed",
        head="computed" if plan.head == "compute" else "reused",
        layers_skipped=layers if plan.run_backbone else 0,
    )
    generation.ran.append(ran)
    counts[f"backbone_{ran.backbone}"] += 1
    counts[f"head_{ran.head}"] += 1
    if plan.run_backbone:
        counts["layers_skipped"] += ran.layers_skipped


def _picture_rows(
    batch: Sequence[Generation], sides: Sequence[tuple[Generation, Side]], device: torch.device
) -> Tensor:
    """For each row of a pass over these branches the picture it reads."""
    first, starts = 0, {}
    for generation in batch:
        starts[id(generation)] = first
        first += generation.rows
    rows = [starts[id(g)] + row for g, _ in sides for row in range(g.rows)]
    return to_device(rows, device)
