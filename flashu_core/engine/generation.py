"""A generation request on its way through the engine: accepted, its prompt read, denoised, its latents decoded.

The stages here turn one unit of the scheduler's into calls of the generation pathway and events. They know no queue and
no other task.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch

from flashu_core.acceleration.resolve import ResolvedGeneration, resolve_generation
from flashu_core.engine.context import Parts
from flashu_core.errors import FlashUError, InvalidRequestError
from flashu_core.images.tensors import to_pixels
from flashu_core.limits import SEEDS
from flashu_core.model import sampler
from flashu_core.pathways import generate
from flashu_core.text import prompt
from flashu_core.timing import Spans, total_milliseconds
from flashu_core.types import (
    Failed,
    Finished,
    GenerateRequest,
    GenerateResult,
    Pixels,
    Preview,
    Progress,
    RequestEvent,
    Stage,
    Task,
)

UNCOND_WAYS = 64  # in which the empty prompt, two tokens, is kept as it was read


@dataclass(kw_only=True, slots=True, eq=False)
class GenerateSequence:
    """One request: what it will do is settled when it is accepted, and `state`, which holds `nbytes` on the device,
    exists once its prompt is read."""

    task: ClassVar[Task] = "generate"
    request_id: str
    request: GenerateRequest
    resolved: ResolvedGeneration
    seed: int
    size: tuple[int, int]  # width, height
    cond: generate.Prompt
    uncond: generate.Prompt
    nbytes: int
    arrival: int = 0
    arrived: float = 0.0
    previews: tuple[int, ...] = ()  # the steps behind which one is shown
    shown: int = 0
    begun: float = 0.0
    state: generate.Generation | None = None
    spans: list[Spans] = field(default_factory=list)

    @property
    def preview_due(self) -> bool:
        """Whether the next unit decodes a preview."""
        state = self.state
        return state is not None and self.shown < len(self.previews) and state.step >= self.previews[self.shown]

    @property
    def started(self) -> bool:
        """Whether a unit of it has run."""
        return self.state is not None

    @property
    def stage(self) -> Stage:
        """What it needs next."""
        if self.state is None:
            return "prefix"
        return "vae_decode" if self.state.done or self.preview_due else "evaluate"

    @property
    def key(self) -> Hashable:
        """Requests of one stage share a batch where this is equal."""
        return (self.size, self.state.work if self.state is not None and self.stage == "evaluate" else None)

    @property
    def rows(self) -> int:
        """Pictures."""
        return self.request.num_images

    @property
    def priority(self) -> int:
        return self.request.priority


class GenerateRunner:
    """Runs the stages of generation on one model.

    Args:
        parts: what it works with.
    """

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        # The empty prompt is shared by all requests, on more paths than one prompt alone takes.
        self._uncond = generate.Prompt(self._ids("", "negative_prompt"), ways=UNCOND_WAYS)

    @property
    def nbytes(self) -> int:
        """Bytes of what was read for all requests."""
        return self._uncond.nbytes

    def needs_calibration(self, request: GenerateRequest) -> bool:
        """Whether the request prunes neurons, and it is not known which."""
        return self.parts.paths is None and self._resolve(request).policy.ffn_ratio > 0.0

    def accept(self, request: GenerateRequest, *, request_id: str, seed: int) -> GenerateSequence:
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
                f"size {size[0]}x{size[1]} is not one this model generates; use one of: {known}", parameter="size"
            )
        resolved = self._resolve(request)
        policy = resolved.policy
        self.parts.check_path(policy.ffn_ratio)
        ways = generate.WAYS if policy.ffn_ratio or policy.skip_ratio else 1
        cond, uncond = generate.Prompt(self._ids(request.prompt, "prompt"), ways), self._uncond
        if request.negative_prompt:
            uncond = generate.Prompt(self._ids(request.negative_prompt, "negative_prompt"), ways)
        own = [cond] if uncond is self._uncond else [cond, uncond]
        return GenerateSequence(
            request_id=request_id,
            request=request,
            resolved=resolved,
            seed=seed,
            size=size,
            previews=preview_steps(len(resolved.schedule), request.previews),
            cond=cond,
            uncond=uncond,
            nbytes=request.num_images * self._row_size(size, len(cond.ids), len(uncond.ids))
            + sum(prompt.ways * len(prompt.ids) * self._position_size for prompt in own),
        )

    def run(self, stage: Stage, sequences: Sequence[GenerateSequence], spans: Spans) -> Sequence[RequestEvent]:
        """Runs one unit."""
        match stage:
            case "prefix":
                return self.read_prompts(sequences, spans)
            case "evaluate":
                return self.evaluate(sequences, spans)
            case "vae_decode":
                return self.decode(sequences, spans)
            case _:
                raise ValueError(f"{stage!r} is no stage of generation")

    def _resolve(self, request: GenerateRequest) -> ResolvedGeneration:
        info = self.parts.info
        return resolve_generation(
            request,
            self.parts.policies,
            num_inference_steps=info.num_inference_steps,
            guidance_scale=info.guidance_scale,
        )

    @property
    def _position_size(self) -> int:
        """Bytes of one position of one sequence in the caches of backbone and head."""
        return self.parts.model.backbone_position_size + self.parts.model.head_position_size

    def _row_size(self, size: tuple[int, int], *prompts: int) -> int:
        """Bytes that one picture holds while it is generated: in both branches the keys and values of its prompt and of
        the image block, and the head's state of the block."""
        model = self.parts.model
        patch = self.parts.vae.config.compression * model.config.patch_size
        block = (size[0] // patch) * (size[1] // patch) + model.config.block_extra
        state = block * model.config.head.hidden_size * model.dtype.itemsize
        return sum((prompt + block) * self._position_size + state for prompt in prompts)

    def _ids(self, text: str, parameter: str) -> list[int]:
        limit = self.parts.info.max_prompt_tokens
        return prompt.generation_prefix(self.parts.tokenizer, text, limit=limit, parameter=parameter)

    def read_prompts(self, sequences: Sequence[GenerateSequence], spans: Spans) -> list[RequestEvent]:
        """Reads the prompts and samples the noise that the steps start from."""
        config = self.parts.model.config
        for sequence in sequences:
            sequence.begun = self.parts.clock()
            with spans.span("prefix"):
                width, height = (side // self.parts.vae.config.compression for side in sequence.size)
                shape = (1, config.latent_channels, height, width)
                sequence.state = generate.begin(
                    self.parts.model,
                    cond=sequence.cond,
                    uncond=sequence.uncond,
                    noise=torch.cat([sampler.noise(seed, shape) for seed in _seeds(sequence)]),
                    schedule=sequence.resolved.schedule,
                    times=sampler.time_grid(sequence.resolved.num_inference_steps, config.time_shift),
                    pruned=self.parts.path("generate", sequence.resolved.policy.ffn_ratio),
                )
            sequence.spans.append(spans)
        return []

    def evaluate(self, sequences: Sequence[GenerateSequence], spans: Spans) -> list[RequestEvent]:
        """Runs the next step of each."""
        states = [sequence.state for sequence in sequences if sequence.state is not None]
        generate.advance(self.parts.model, states, spans)
        return [
            Progress(sequence.request_id, state.step, len(state.schedule))
            for sequence, state in zip(sequences, states, strict=True)
        ]

    def decode(self, sequences: Sequence[GenerateSequence], spans: Spans) -> list[RequestEvent]:
        """Turns latents into pictures: a preview, or the end of a request."""
        events: list[RequestEvent] = []
        for sequence in sequences:
            state = sequence.state
            assert state is not None
            if sequence.preview_due:
                with spans.span("preview"), torch.inference_mode():
                    (image,) = to_pixels(self.parts.vae.decode(state.estimate))
                state.counts["previews"] += 1
                state.spans.append(spans)
                events.append(Preview(sequence.request_id, sequence.shown, image))
                sequence.shown += 1
                continue
            if not bool(torch.isfinite(state.latents).all()):
                lost = FlashUError("the latents contain NaN or Inf; lower the guidance scale")
                events.append(Failed(sequence.request_id, lost))
                continue
            with spans.span("vae_decode"), torch.inference_mode():
                images = to_pixels(self.parts.vae.decode(state.latents))
            timings = total_milliseconds([*sequence.spans, *state.spans, spans])
            timings["queue"] = (sequence.begun - sequence.arrived) * 1000
            timings["total"] = (self.parts.clock() - sequence.begun) * 1000
            events.append(Finished(sequence.request_id, _result(sequence, state, images, timings)))
        return events


def preview_steps(steps: int, previews: int) -> tuple[int, ...]:
    """Steps, counted from 1, behind which previews are shown: evenly spaced, none behind the last."""
    behind = {round(steps * index / (previews + 1)) for index in range(1, previews + 1)}
    return tuple(sorted(behind - {0, steps}))


def _seeds(sequence: GenerateSequence) -> list[int]:
    return [(sequence.seed + index) % SEEDS for index in range(sequence.request.num_images)]


def _result(
    sequence: GenerateSequence, state: generate.Generation, images: tuple[Pixels, ...], timings: Mapping[str, float]
) -> GenerateResult:
    return GenerateResult(
        images=images,
        seeds=tuple(_seeds(sequence)),
        num_inference_steps=sequence.resolved.num_inference_steps,
        guidance_scale=sequence.resolved.guidance_scale,
        acceleration=sequence.request.acceleration,
        schedule={
            "evaluations": state.step,
            "backbone_passes": state.counts["backbone_full"] + state.counts["backbone_pruned"],
            "head_passes": state.counts["head_computed"],
            **state.counts,
        },
        steps=tuple(state.ran),
        prompt_tokens=len(sequence.cond.ids) + (len(sequence.uncond.ids) if sequence.request.negative_prompt else 0),
        timings=timings,
        latents=state.latents.float().cpu().numpy() if sequence.request.output_latents else None,
    )
