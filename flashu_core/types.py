"""The engine's inputs and outputs: frozen requests, events and results. No tensors, and no logic but validation."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from flashu_core.errors import FlashUError, InvalidRequestError
from flashu_core.limits import (
    MAX_GUIDANCE_SCALE,
    MAX_IMAGES,
    MAX_INFERENCE_STEPS,
    MAX_LOGPROBS,
    MAX_NEW_TOKENS,
    MAX_PREVIEWS,
    MAX_STOPS,
    MAX_TEMPERATURE,
    SEEDS,
)

Task = Literal["generate", "vqa"]
Stage = Literal["prefix", "evaluate", "vae_decode", "prefill", "decode"]
FinishReason = Literal["stop", "length"]
Pixels = NDArray[np.uint8]
LOCAL = "local"
"""Metadata key of dataclass fields that are not sent to another process."""
_WORD = re.compile(r"[^\W\d_]+")


def _within(name: str, value: float, low: float, high: float) -> None:
    # Written so that a NaN fails too.
    if not low <= value <= high:
        raise InvalidRequestError(f"{name} is {value}; it must be from {low} to {high}", parameter=name)


def _seed(value: int | None) -> None:
    if value is not None and not 0 <= value < SEEDS:
        raise InvalidRequestError(f"seed is {value}; it must be from 0 to {SEEDS - 1}", parameter="seed")


def _deadline(value: float | None) -> None:
    if value is not None and not math.isfinite(value):
        raise InvalidRequestError(f"the deadline is {value}; it must be finite", parameter="timeout_s")


def _picture(value: Pixels) -> None:
    if value.dtype != np.uint8 or value.ndim != 3 or value.shape[2] != 3 or not value.size:
        raise InvalidRequestError(
            f"the image is {value.dtype} of shape {value.shape}; it must be uint8 (height, width, 3)",
            parameter="image",
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class GenerateRequest:
    """A request for pictures of a prompt.

    Attributes:
        num_images: number of pictures, each with its own seed (`seed`, `seed + 1`, ...).
        width, height: pixels; the model's default size where both are None.
        num_inference_steps: points of the time grid, as Show-o2 counts: N of them are N - 1 denoising steps. None: the
            model's default.
        guidance_scale: weight of the prompt's velocity against the negative prompt's. None: the model's default.
        seed: None chooses one at random.
        acceleration: name of the acceleration policy.
        overrides: single parameters of that policy, by name.
        previews: number of `Preview` events; for one picture only, and at most one per denoising step.
        output_latents: whether the result has the latents too.
        priority: lower runs first.
        deadline: `time.monotonic` seconds at which the request fails if it is not finished.

    Raises:
        InvalidRequestError: a value is out of range.
    """

    task: ClassVar[Task] = "generate"
    prompt: str
    negative_prompt: str = ""
    num_images: int = 1
    width: int | None = None
    height: int | None = None
    num_inference_steps: int | None = None
    guidance_scale: float | None = None
    seed: int | None = None
    acceleration: str = "flashu"
    overrides: Mapping[str, float] = field(default_factory=dict)
    previews: int = 0
    output_latents: bool = False
    priority: int = 0
    deadline: float | None = None

    def __post_init__(self) -> None:
        _within("num_images", self.num_images, 1, MAX_IMAGES)
        _within("previews", self.previews, 0, MAX_PREVIEWS)
        if self.previews and self.num_images > 1:
            raise InvalidRequestError(
                f"previews is {self.previews} with num_images {self.num_images}; previews need num_images 1",
                parameter="previews",
            )
        if self.num_inference_steps is not None:
            _within("num_inference_steps", self.num_inference_steps, 2, MAX_INFERENCE_STEPS)
        if self.guidance_scale is not None:
            _within("guidance_scale", self.guidance_scale, 0.0, MAX_GUIDANCE_SCALE)
        if (self.width is None) != (self.height is None):
            raise InvalidRequestError("width and height must be given together", parameter="size")
        _seed(self.seed)
        _deadline(self.deadline)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class UnderstandRequest:
    """A question, about a picture where there is one.

    Attributes:
        image: uint8 (H, W, 3) of any size; the engine resizes and crops it. None: a question without a picture.
        max_new_tokens: maximum length of the answer.
        temperature: 0 is greedy decoding.
        top_p: samples from the smallest set of likeliest tokens whose probabilities sum to at least this.
        stop: the answer ends before the first of these texts.
        logprobs: None, or the number of likeliest tokens (0 to 20) whose log probabilities are returned for each
            position, in addition to that of the answer's own token.
        acceleration, overrides, priority, deadline: as for a picture.

    Raises:
        InvalidRequestError: a value is out of range, or the image has another shape or type.
    """

    task: ClassVar[Task] = "vqa"
    question: str
    image: Pixels | None = None
    max_new_tokens: int = 128
    temperature: float = 0.0
    top_p: float = 1.0
    stop: tuple[str, ...] = ()
    logprobs: int | None = None
    seed: int | None = None
    acceleration: str = "flashu"
    overrides: Mapping[str, float] = field(default_factory=dict)
    priority: int = 0
    deadline: float | None = None

    def __post_init__(self) -> None:
        if self.image is not None:
            _picture(self.image)
        if len(self.stop) > MAX_STOPS or not all(self.stop):
            raise InvalidRequestError(
                f"stop has {len(self.stop)} texts; it must be at most {MAX_STOPS}, none of them empty",
                parameter="stop",
            )
        if self.logprobs is not None:
            _within("logprobs", self.logprobs, 0, MAX_LOGPROBS)
        _within("max_new_tokens", self.max_new_tokens, 1, MAX_NEW_TOKENS)
        _within("temperature", self.temperature, 0.0, MAX_TEMPERATURE)
        if not 0.0 < self.top_p <= 1.0:
            raise InvalidRequestError(f"top_p is {self.top_p}; it must be above 0 and at most 1", parameter="top_p")
        _seed(self.seed)
        _deadline(self.deadline)


Request = GenerateRequest | UnderstandRequest


@dataclass(frozen=True, kw_only=True, slots=True)
class DenoisingStep:
    """What one denoising step ran.

    Attributes:
        backbone: all neurons, the task's own ("pruned"), or no pass, where its output would be unused.
        head: whether the head's state was computed, or the last computed one was reused.
        layers_skipped: number of backbone layers that the pass skipped.
    """

    backbone: Literal["full", "pruned", "not_needed"]
    head: Literal["computed", "reused"]
    layers_skipped: int = 0


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class GenerateResult:
    """Pictures, what ran for them, and how long it took.

    Attributes:
        images: uint8 (height, width, 3) each.
        seeds: one for each picture.
        schedule: counts of what ran: `evaluations` (denoising steps), `backbone_passes`, `head_passes`, ...
        steps: what each denoising step ran; `schedule` holds the sums.
        prompt_tokens: tokens of the prompt, including the two around it, and of the negative prompt where there is one.
        timings: milliseconds per component: `tokenize`, `prefix`, `features`, `backbone`, `head`, `guidance`,
            `vae_decode`, and `preview` where there were any; `queue` (until the first unit of work), and `total` (from
            the first unit to the last).
        latents: float32 (num_images, channels, height, width) where the request asks for them; never sent by a server.
    """

    images: tuple[Pixels, ...]
    seeds: tuple[int, ...]
    num_inference_steps: int
    guidance_scale: float
    acceleration: str
    schedule: Mapping[str, int]
    steps: tuple[DenoisingStep, ...]
    prompt_tokens: int
    timings: Mapping[str, float]
    latents: NDArray[np.float32] | None = field(default=None, metadata={LOCAL: True})


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenLogprob:
    """A token and the natural logarithm of its probability, before temperature and top_p.

    Attributes:
        token: its text; bytes that are not valid UTF-8 by themselves become replacement characters.
        bytes: its bytes; those of an answer's tokens, joined, are UTF-8.
        logprob: at least -9999.
    """

    token: str
    bytes: tuple[int, ...]
    logprob: float


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenLogprobs:
    """A token of an answer, and the likeliest tokens at its position, the likeliest first."""

    chosen: TokenLogprob
    top: tuple[TokenLogprob, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class UnderstandResult:
    """An answer, what ran for it, and how long it took.

    `timings` are milliseconds as for pictures: `tokenize`, `vae_encode`, `features`, `prefill`, `decode`, `queue`,
    `time_to_first_token` (from the first unit of work), `total`. `logprobs` are those of its tokens without the end
    token, where the request has `logprobs`.
    """

    answer: str
    finish_reason: FinishReason
    prompt_tokens: int
    completion_tokens: int
    acceleration: str
    schedule: Mapping[str, int]
    timings: Mapping[str, float]
    logprobs: tuple[TokenLogprobs, ...] = ()


Result = GenerateResult | UnderstandResult


@dataclass(frozen=True, slots=True)
class Begun:
    """The next unit of work is the request's first; nothing of it has run before."""

    request_id: str


@dataclass(frozen=True, slots=True)
class Progress:
    """A denoising step ended: step `step` of `of`."""

    request_id: str
    step: int
    of: int


@dataclass(frozen=True, slots=True, eq=False)
class Preview:
    """The current latents decoded at time 1, uint8 (height, width, 3); `index` counts a request's previews from 0."""

    request_id: str
    index: int
    image: Pixels


@dataclass(frozen=True, slots=True)
class Text:
    """The next piece of an answer. The pieces of a request, joined, are its answer, and their `logprobs` those of its
    tokens: a token comes with the piece that completes its text."""

    request_id: str
    text: str
    logprobs: tuple[TokenLogprobs, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Finished:
    """A request ended with a result."""

    request_id: str
    result: Result


@dataclass(frozen=True, slots=True, eq=False)
class Failed:
    """A request ended without a result: it was cancelled, missed its deadline, or failed."""

    request_id: str
    error: FlashUError


@dataclass(frozen=True, kw_only=True, slots=True)
class UnitEnded:
    """A unit of work ended; what it did for its requests follows.

    Attributes:
        rows: number of pictures or answers that it advanced.
        seconds: from its start until the device had done it.
        memory: bytes on the device afterwards, by kind, as `Engine.memory`.
        request_ids: of the requests that it advanced; empty while warming up.
    """

    stage: Stage
    rows: int
    seconds: float
    memory: Mapping[str, int] = field(default_factory=dict)
    request_ids: tuple[str, ...] = ()


RequestEvent = Begun | Progress | Preview | Text | Finished | Failed
Event = RequestEvent | UnitEnded


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelInfo:
    """Properties of a loaded model.

    Attributes:
        sizes: supported picture sizes as (width, height) in pixels, the default first.
        num_inference_steps, guidance_scale: the defaults of requests.
        known_words: every word of its training, in lower case; empty for models that know any.
    """

    name: str
    parameters: int
    dtype: str
    device: str
    sizes: tuple[tuple[int, int], ...]
    num_inference_steps: int
    guidance_scale: float
    policies: tuple[str, ...]
    max_prompt_tokens: int
    known_words: tuple[str, ...] = ()
    details: Mapping[str, str] = field(default_factory=dict)

    def unknown_words(self, text: str) -> tuple[str, ...]:
        """The words of a text that its training never had, in lower case, each once; none where it lists no words."""
        if not self.known_words:
            return ()
        known = frozenset(self.known_words)
        return tuple(dict.fromkeys(word for word in _WORD.findall(text.casefold()) if word not in known))
