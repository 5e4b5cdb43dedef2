"""The engine: everything a server sees. It loads a checkpoint, takes requests, and advances them one unit at a step.

Not thread-safe: one thread owns an engine. It knows no HTTP, no queue limits and no clock but the deadline's.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from flashu_core import prompt, sampler
from flashu_core.attention import load_kernel
from flashu_core.checkpoint import Checkpoint, choose_dtype, load_checkpoint
from flashu_core.config import EngineConfig
from flashu_core.errors import CancelledError, DeadlineExceededError, FlashUError, InvalidRequestError
from flashu_core.image import fit, to_pixels
from flashu_core.pathways import generate, understand
from flashu_core.plan import Schedule, make_schedule
from flashu_core.policies import POLICIES, find_policy
from flashu_core.scheduler import Entry, Scheduler, Stage, Unit
from flashu_core.timing import Spans, total_milliseconds
from flashu_core.types import (
    SEEDS,
    Event,
    Failed,
    Finished,
    GenerateRequest,
    GenerateResult,
    ModelInfo,
    Progress,
    Request,
    Result,
    Text,
    UnderstandRequest,
    UnderstandResult,
)

EMBEDDED = Path(__file__).parent / "assets" / "shapes-64"


@dataclass(slots=True)
class _Drawing:
    """A generation request on its way: prompt, then state, then pictures."""

    request: GenerateRequest
    seed: int
    points: int
    guidance: float
    size: tuple[int, int]  # height, width in pixels
    schedule: Schedule
    text_ids: list[int]
    null_ids: list[int]
    begun: float = 0.0
    state: generate.Generation | None = None
    spans: list[Spans] = field(default_factory=list)

    @property
    def stage(self) -> Stage:
        if self.state is None:
            return "prefix"
        return "vae_decode" if self.state.done else "evaluate"

    def entry(self, identity: int) -> Entry:
        return Entry(
            request=identity,
            task="generate",
            stage=self.stage,
            key=self.size,
            rows=self.request.images,
            priority=self.request.priority,
        )


@dataclass(slots=True)
class _Asking:
    """An understanding request on its way: question, then state; `shown` is the text already told."""

    request: UnderstandRequest
    seed: int
    suffix: list[int]
    begun: float = 0.0
    first_token: float = 0.0
    state: understand.Understanding | None = None
    shown: str = ""
    spans: list[Spans] = field(default_factory=list)

    def entry(self, identity: int) -> Entry:
        stage: Stage = "prefill" if self.state is None else "decode"
        return Entry(request=identity, task="vqa", stage=stage, priority=self.request.priority)


class Engine:
    """A loaded model and the requests it is working on.

    Args:
        checkpoint: the weights, on the device they will run on.
        config: how to run.
        clock: monotonic seconds, against which deadlines are held.
    """

    def __init__(
        self, checkpoint: Checkpoint, config: EngineConfig, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.config = config
        self.model = checkpoint.model
        self.vae = checkpoint.vae
        self.tokenizer = checkpoint.tokenizer
        self.info = _describe(checkpoint, config)
        self._clock = clock
        self._scheduler = Scheduler(config.max_batch)
        self._active: dict[int, _Drawing | _Asking] = {}
        self._cancelled: set[int] = set()
        self._submitted = 0
        self._null: generate.Branch | None = None
        self._system = understand.read_system(self.model, prompt.understanding_prefix(self.tokenizer))

    @classmethod
    def load(cls, source: str | Path | None = None, config: EngineConfig | None = None) -> Engine:
        """Loads a folder, a hub id, or with None the embedded model.

        Raises:
            CheckpointError: it cannot be used.
            KernelUnavailableError: this machine lacks the attention kernel asked for.
        """
        config = config or EngineConfig()
        device = _choose_device(config.device)
        checkpoint = load_checkpoint(
            EMBEDDED if source is None else source,
            dtype=choose_dtype(config.dtype, device),
            device=device,
            kernel=load_kernel(config.attention),
        )
        return cls(checkpoint, config)

    @property
    def idle(self) -> bool:
        """Whether there is nothing to do."""
        return not self._active

    def warm_up(self) -> None:
        """Runs both tasks once, so that the first request meets no first-time costs."""
        width, height = self.info.sizes[0]
        drawn = self.generate(GenerateRequest(prompt="warm-up", points=3, width=width, height=height, seed=0))
        self.ask(UnderstandRequest(question="warm-up", image=drawn.images[0], max_new_tokens=2))

    def submit(self, request: Request) -> int:
        """Takes a request; it advances in later steps.

        Returns:
            Its id.

        Raises:
            InvalidRequestError: this model cannot do it.
        """
        begun = Spans(torch.device("cpu"))
        with begun.span("tokenize"):
            active = self._drawing(request) if isinstance(request, GenerateRequest) else self._asking(request)
        active.spans.append(begun)
        self._submitted += 1
        self._active[self._submitted] = active
        return self._submitted

    def cancel(self, request: int) -> None:
        """Ends a request at the next step; one that ended already is left alone."""
        if request in self._active:
            self._cancelled.add(request)

    def step(self) -> list[Event]:
        """Schedules, runs and reports one unit of work."""
        events = self._drop_unwanted()
        unit = self._scheduler.next_unit(active.entry(identity) for identity, active in self._active.items())
        if unit is not None:
            events += self._run(unit)
        for event in events:
            if isinstance(event, (Finished, Failed)):
                self._active.pop(event.request, None)
                self._cancelled.discard(event.request)
        return events

    def generate(
        self, request: GenerateRequest, on_event: Callable[[Event], None] | None = None
    ) -> GenerateResult:
        """Draws, alone and to the end. Raises what the request failed with."""
        result = self._finish(request, on_event)
        assert isinstance(result, GenerateResult)
        return result

    def ask(self, request: UnderstandRequest, on_event: Callable[[Event], None] | None = None) -> UnderstandResult:
        """Answers, alone and to the end. Raises what the request failed with."""
        result = self._finish(request, on_event)
        assert isinstance(result, UnderstandResult)
        return result

    def _finish(self, request: Request, on_event: Callable[[Event], None] | None) -> Result:
        identity = self.submit(request)
        while True:
            for event in self.step():
                if on_event is not None:
                    on_event(event)
                if event.request == identity and isinstance(event, Finished):
                    return event.result
                if event.request == identity and isinstance(event, Failed):
                    raise event.error

    def _drop_unwanted(self) -> list[Event]:
        now = self._clock()
        dropped: list[Event] = []
        for identity, active in self._active.items():
            deadline = active.request.deadline
            if identity in self._cancelled:
                dropped.append(Failed(identity, CancelledError("the request was cancelled")))
            elif deadline is not None and now >= deadline:
                dropped.append(Failed(identity, DeadlineExceededError("the request's time ran out")))
        for event in dropped:
            del self._active[event.request]
        return dropped

    def _run(self, unit: Unit) -> list[Event]:
        spans = Spans(self.model.device)
        stages: dict[Stage, Callable[[tuple[int, ...], Spans], list[Event]]] = {
            "prefix": self._read_prompt,
            "evaluate": self._evaluate,
            "vae_decode": self._decode_pictures,
            "prefill": self._prefill,
            "decode": self._decode_tokens,
        }
        try:
            return stages[unit.stage](unit.requests, spans)
        except torch.OutOfMemoryError:
            error = FlashUError(f"the accelerator ran out of memory in {unit.stage}; send smaller or fewer requests")
            return [Failed(request, error) for request in unit.requests]

    # Generation

    def _drawing(self, request: GenerateRequest) -> _Drawing:
        config = self.model.config
        width, height = self.info.sizes[0]
        if request.width is not None and request.height is not None:
            width, height = request.width, request.height
        if (width, height) not in self.info.sizes:
            known = ", ".join(f"{w}x{h}" for w, h in self.info.sizes)
            raise InvalidRequestError(f"size {width}x{height} is not one this model draws: {known}", parameter="size")
        points = request.points or config.points
        guidance = config.guidance if request.guidance is None else request.guidance
        limit = self.config.max_prompt_tokens
        return _Drawing(
            request=request,
            seed=_seed(request.seed),
            points=points,
            guidance=guidance,
            size=(height, width),
            schedule=make_schedule(find_policy(request.policy), points=points, guidance=guidance),
            text_ids=prompt.generation_prefix(self.tokenizer, request.prompt, limit=limit),
            null_ids=prompt.generation_prefix(
                self.tokenizer, request.negative_prompt, limit=limit, parameter="negative_prompt"
            ),
        )

    def _drawings(self, requests: tuple[int, ...]) -> list[_Drawing]:
        chosen = [self._active[request] for request in requests]
        return [active for active in chosen if isinstance(active, _Drawing)]

    def _read_prompt(self, requests: tuple[int, ...], spans: Spans) -> list[Event]:
        for drawing in self._drawings(requests):
            drawing.begun = time.monotonic()
            with spans.span("prefix"):
                text = generate.read_prompt(self.model, drawing.text_ids)
                null = self._null_branch(drawing)
                config = self.model.config
                height, width = (side // self.vae.config.compression for side in drawing.size)
                seeds = range(drawing.seed, drawing.seed + drawing.request.images)
                shape = (1, config.latent_channels, height, width)
                drawing.state = generate.begin(
                    self.model,
                    text=text,
                    null=null,
                    noise=torch.cat([sampler.noise(seed % SEEDS, shape) for seed in seeds]),
                    schedule=drawing.schedule,
                    times=sampler.time_grid(drawing.points, config.time_shift),
                )
            drawing.spans.append(spans)
        return []

    def _null_branch(self, drawing: _Drawing) -> generate.Branch:
        if drawing.request.negative_prompt:
            return generate.read_prompt(self.model, drawing.null_ids)
        if self._null is None:
            self._null = generate.read_prompt(self.model, drawing.null_ids)
        return self._null

    def _evaluate(self, requests: tuple[int, ...], spans: Spans) -> list[Event]:
        states = [drawing.state for drawing in self._drawings(requests) if drawing.state is not None]
        generate.advance(self.model, states, spans)
        return [
            Progress(request, state.evaluation, len(state.schedule))
            for request, state in zip(requests, states, strict=True)
        ]

    def _decode_pictures(self, requests: tuple[int, ...], spans: Spans) -> list[Event]:
        events: list[Event] = []
        for request, drawing in zip(requests, self._drawings(requests), strict=True):
            state = drawing.state
            assert state is not None
            with spans.span("vae_decode"):
                images = to_pixels(self._decode(state.latents))
            timings = total_milliseconds([*drawing.spans, *state.spans, spans])
            timings["total"] = (time.monotonic() - drawing.begun) * 1000
            count = drawing.request.images
            result = GenerateResult(
                images=images,
                seeds=tuple((drawing.seed + index) % SEEDS for index in range(count)),
                points=drawing.points,
                guidance=drawing.guidance,
                policy=drawing.request.policy,
                schedule={
                    "evaluations": state.evaluation,
                    "backbone_passes": state.backbone_passes,
                    "head_passes": state.backbone_passes,
                },
                timings=timings,
            )
            events.append(Finished(request, result))
        return events

    @torch.inference_mode()
    def _decode(self, latents: Tensor) -> Tensor:
        return self.vae.decode(latents)

    # Understanding

    def _asking(self, request: UnderstandRequest) -> _Asking:
        suffix = prompt.understanding_suffix(self.tokenizer, request.question, limit=self.config.max_prompt_tokens)
        return _Asking(request=request, seed=_seed(request.seed), suffix=suffix)

    def _prefill(self, requests: tuple[int, ...], spans: Spans) -> list[Event]:
        events: list[Event] = []
        for request, asking in self._askings(requests):
            asking.begun = time.monotonic()
            width, height = self.info.sizes[0]
            with spans.span("vae_encode"), torch.inference_mode():
                latents = self.vae.encode(fit(asking.request.image, height, width).to(self.model.device))
            asking.state = understand.begin(
                self.model,
                system=self._system,
                latents=latents,
                suffix=asking.suffix,
                decoding=understand.Decoding(
                    eos=self.tokenizer.special.eos,
                    max_new_tokens=asking.request.max_new_tokens,
                    temperature=asking.request.temperature,
                    top_p=asking.request.top_p,
                ),
                generator=torch.Generator().manual_seed(asking.seed),
                spans=spans,
            )
            asking.first_token = time.monotonic()
            events += self._tell(request, asking)
        return events

    def _decode_tokens(self, requests: tuple[int, ...], spans: Spans) -> list[Event]:
        askings = self._askings(requests)
        understand.advance(self.model, [a.state for _, a in askings if a.state is not None], spans)
        return [event for request, asking in askings for event in self._tell(request, asking)]

    def _askings(self, requests: tuple[int, ...]) -> list[tuple[int, _Asking]]:
        chosen = [(request, self._active[request]) for request in requests]
        return [(request, active) for request, active in chosen if isinstance(active, _Asking)]

    def _tell(self, request: int, asking: _Asking) -> list[Event]:
        """What is new of an answer, and its end."""
        state = asking.state
        assert state is not None
        events: list[Event] = []
        text = self.tokenizer.decode(state.tokens)
        # A character may still lack bytes that come with the next token.
        if not state.done:
            text = text.rstrip("\ufffd")
        if len(text) > len(asking.shown):
            events.append(Text(request, text[len(asking.shown) :]))
            asking.shown = text
        if state.done:
            timings = total_milliseconds([*asking.spans, *state.spans])
            timings["time_to_first_token"] = (asking.first_token - asking.begun) * 1000
            timings["total"] = (time.monotonic() - asking.begun) * 1000
            result = UnderstandResult(
                answer=text,
                finish_reason="stop" if state.ended else "length",
                prompt_tokens=state.prompt_tokens,
                completion_tokens=len(state.tokens),
                policy=asking.request.policy,
                schedule={"prefills": 1, "decoded_tokens": len(state.tokens)},
                timings=timings,
            )
            events.append(Finished(request, result))
        return events


def _seed(seed: int | None) -> int:
    return int(torch.randint(0, 2**31, (), dtype=torch.int64)) if seed is None else seed


def _choose_device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(name)


def _describe(checkpoint: Checkpoint, config: EngineConfig) -> ModelInfo:
    model = checkpoint.model
    pixels = model.config.patch_size * checkpoint.vae.config.compression
    return ModelInfo(
        name=checkpoint.name,
        parameters=sum(parameter.numel() for part in (model, checkpoint.vae) for parameter in part.parameters()),
        dtype=str(model.dtype).removeprefix("torch."),
        device=str(model.device),
        sizes=tuple((columns * pixels, rows * pixels) for rows, columns in model.config.grids),
        points=model.config.points,
        guidance=model.config.guidance,
        policies=tuple(POLICIES),
        max_prompt_tokens=config.max_prompt_tokens,
        details={"attention": config.attention, "digest": checkpoint.digest},
    )
