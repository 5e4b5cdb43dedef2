"""A generation request on its way through the engine: accepted, its prompt read, evaluated, its latents decoded.

The stages here turn one unit of the scheduler's into calls of the generation pathway and events. They know no queue and
no other task.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch

from flashu_core.acceleration.plan import Schedule, make_schedule
from flashu_core.acceleration.policies import GenerationPolicy, find_policy, override
from flashu_core.engine.context import Parts
from flashu_core.engine.scheduler import Entry
from flashu_core.errors import FlashUError, InvalidRequestError
from flashu_core.images.tensors import to_pixels
from flashu_core.model import sampler
from flashu_core.pathways import generate
from flashu_core.text import prompt
from flashu_core.timing import Spans, total_milliseconds
from flashu_core.types import (
    SEEDS,
    Event,
    Failed,
    Finished,
    GenerateRequest,
    GenerateResult,
    Pixels,
    Preview,
    Progress,
    Stage,
)

NULL_WAYS = 64  # in which the empty prompt, two tokens, is kept as it was read


@dataclass(slots=True)
class Drawing:
    """One request: what it will do is settled when it is accepted, and `state`, which holds all memory that counts, is
    there once its prompt is read. `size` is in pixels, `held` in bytes."""

    identity: int
    request: GenerateRequest
    seed: int
    points: int
    guidance: float
    size: tuple[int, int]  # width, height
    policy: GenerationPolicy
    schedule: Schedule
    text: generate.Prompt
    null: generate.Prompt
    held: int
    arrived: float = 0.0
    previews: tuple[int, ...] = ()  # the evaluations behind which one is shown
    shown: int = 0
    begun: float = 0.0
    state: generate.Generation | None = None
    spans: list[Spans] = field(default_factory=list)

    @property
    def preview_due(self) -> bool:
        """Whether the next unit decodes a preview."""
        state = self.state
        return state is not None and self.shown < len(self.previews) and state.evaluation >= self.previews[self.shown]

    @property
    def entry(self) -> Entry:
        """What the scheduler needs to know."""
        stage: Stage = "prefix"
        if self.state is not None:
            stage = "vae_decode" if self.state.done or self.preview_due else "evaluate"
        return Entry(
            request=self.identity,
            task="generate",
            stage=stage,
            key=(self.size, self.state.work if stage == "evaluate" and self.state is not None else None),
            rows=self.request.images,
            size=self.held,
            priority=self.request.priority,
        )


class Drawer:
    """Runs the stages of generation on one model.

    Args:
        parts: what it works with.
    """

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        # The empty prompt is shared by all requests, on more paths than one prompt alone takes.
        self._null = generate.Prompt(self._ids("", "negative_prompt"), ways=NULL_WAYS)

    @property
    def nbytes(self) -> int:
        """Bytes of what was read for all requests."""
        return self._null.nbytes

    def accept(self, identity: int, request: GenerateRequest, seed: int) -> Drawing:
        """Settles a request's size, schedule and tokens.

        Raises:
            InvalidRequestError: this model cannot do it.
        """
        info = self.parts.info
        size = info.sizes[0]
        if request.width is not None and request.height is not None:
            size = (request.width, request.height)
        if size not in info.sizes:
            known = ", ".join(f"{width}x{height}" for width, height in info.sizes)
            raise InvalidRequestError(
                f"size {size[0]}x{size[1]} is not one this model draws; use one of: {known}", parameter="size"
            )
        policy = override(find_policy(request.policy, self.parts.policies).generate, request.overrides)
        self.parts.check_path(policy.ffn_ratio)
        points = policy.points_of(info.points) if request.points is None else request.points
        guidance = info.guidance if request.guidance is None else request.guidance
        ways = generate.WAYS if policy.ffn_ratio or policy.skip_ratio else 1
        text, null = generate.Prompt(self._ids(request.prompt, "prompt"), ways), self._null
        if request.negative_prompt:
            null = generate.Prompt(self._ids(request.negative_prompt, "negative_prompt"), ways)
        own = [text] if null is self._null else [text, null]
        schedule = make_schedule(policy.techniques, points=points, guidance=guidance)
        return Drawing(
            identity=identity,
            request=request,
            seed=seed,
            points=points,
            guidance=guidance,
            size=size,
            policy=policy,
            schedule=schedule,
            previews=preview_evaluations(len(schedule), request.previews),
            text=text,
            null=null,
            held=request.images * self._row_size(size, len(text.ids), len(null.ids))
            + sum(prompt.ways * len(prompt.ids) * self._position_size for prompt in own),
        )

    @property
    def _position_size(self) -> int:
        """Bytes of one position of one sequence in the caches of backbone and head."""
        return self.parts.model.backbone_position_size + self.parts.model.head_position_size

    def _row_size(self, size: tuple[int, int], *prompts: int) -> int:
        """Bytes that one picture holds while it is drawn: in both branches the keys and values of its prompt and of
        the image block, and the head's state of the block."""
        model = self.parts.model
        patch = self.parts.vae.config.compression * model.config.patch_size
        block = (size[0] // patch) * (size[1] // patch) + model.config.block_extra
        state = block * model.config.head.hidden_size * model.dtype.itemsize
        return sum((prompt + block) * self._position_size + state for prompt in prompts)

    def _ids(self, text: str, parameter: str) -> list[int]:
        limit = self.parts.info.max_prompt_tokens
        return prompt.generation_prefix(self.parts.tokenizer, text, limit=limit, parameter=parameter)

    def read_prompts(self, drawings: Sequence[Drawing], spans: Spans) -> list[Event]:
        """Reads the prompts and draws the noise that evaluations start from."""
        config = self.parts.model.config
        for drawing in drawings:
            drawing.begun = self.parts.clock()
            with spans.span("prefix"):
                width, height = (side // self.parts.vae.config.compression for side in drawing.size)
                shape = (1, config.latent_channels, height, width)
                drawing.state = generate.begin(
                    self.parts.model,
                    text=drawing.text,
                    null=drawing.null,
                    noise=torch.cat([sampler.noise(seed, shape) for seed in _seeds(drawing)]),
                    schedule=drawing.schedule,
                    times=sampler.time_grid(drawing.points, config.time_shift),
                    pruned=self.parts.path("generate", drawing.policy.ffn_ratio),
                )
            drawing.spans.append(spans)
        return []

    def evaluate(self, drawings: Sequence[Drawing], spans: Spans) -> list[Event]:
        """Runs the next evaluation of each."""
        states = [drawing.state for drawing in drawings if drawing.state is not None]
        generate.advance(self.parts.model, states, spans)
        return [
            Progress(drawing.identity, state.evaluation, len(state.schedule))
            for drawing, state in zip(drawings, states, strict=True)
        ]

    def decode(self, drawings: Sequence[Drawing], spans: Spans) -> list[Event]:
        """Turns latents into pictures: a preview, or the end of a request."""
        events: list[Event] = []
        for drawing in drawings:
            state = drawing.state
            assert state is not None
            if drawing.preview_due:
                with spans.span("preview"), torch.inference_mode():
                    (image,) = to_pixels(self.parts.vae.decode(state.estimate))
                state.counts["previews"] += 1
                state.spans.append(spans)
                events.append(Preview(drawing.identity, drawing.shown, image))
                drawing.shown += 1
                continue
            if not bool(torch.isfinite(state.latents).all()):
                lost = FlashUError("the latents contain NaN or Inf; lower the guidance scale")
                events.append(Failed(drawing.identity, lost))
                continue
            with spans.span("vae_decode"), torch.inference_mode():
                images = to_pixels(self.parts.vae.decode(state.latents))
            timings = total_milliseconds([*drawing.spans, *state.spans, spans])
            timings["queue"] = (drawing.begun - drawing.arrived) * 1000
            timings["total"] = (self.parts.clock() - drawing.begun) * 1000
            events.append(Finished(drawing.identity, _result(drawing, state, images, timings)))
        return events


def preview_evaluations(evaluations: int, previews: int) -> tuple[int, ...]:
    """Evaluations, counted from 1, behind which previews are shown: evenly spaced, none behind the last."""
    behind = {round(evaluations * index / (previews + 1)) for index in range(1, previews + 1)}
    return tuple(sorted(behind - {0, evaluations}))


def _seeds(drawing: Drawing) -> list[int]:
    return [(drawing.seed + index) % SEEDS for index in range(drawing.request.images)]


def _result(
    drawing: Drawing, state: generate.Generation, images: tuple[Pixels, ...], timings: Mapping[str, float]
) -> GenerateResult:
    return GenerateResult(
        images=images,
        seeds=tuple(_seeds(drawing)),
        points=drawing.points,
        guidance=drawing.guidance,
        policy=drawing.request.policy,
        schedule={
            "evaluations": state.evaluation,
            "backbone_passes": state.counts["backbone_full"] + state.counts["backbone_pruned"],
            "head_passes": state.counts["head_computed"],
            **state.counts,
        },
        evaluations=tuple(state.ran),
        prompt_tokens=len(drawing.text.ids) + (len(drawing.null.ids) if drawing.request.negative_prompt else 0),
        timings=timings,
    )
