"""What goes into the engine and what comes out: frozen requests, events and results. Holds no tensors and no logic
beyond checking values."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

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
    """A prompt to draw.

    Attributes:
        num_images: how many pictures, each with a seed of its own (`seed`, `seed + 1`, ...).
        width, height: pixels; the model's default size where both are None.
        num_inference_steps: points of the time grid, as Show-o2 counts: N of them are N - 1 denoising steps. None: the
            model's default.
        guidance_scale: how far to move from the negative prompt's velocity to the prompt's. None: the model's default.
        seed: None draws one.
        acceleration: name of the acceleration policy.
        overrides: single parameters of that policy, by name.
        previews: how many `Preview`s are wanted on the way; of one picture only, and never more than evaluations.
        priority: lower runs first.
        deadline: monotonic seconds after which nobody wants the result.

    Raises:
        InvalidRequestError: a value is out of range.
    """

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
        image: uint8 (H, W, 3) of any size; the engine resizes and crops it. None: the question stands alone.
        max_new_tokens: length of the answer at most.
        temperature: 0 picks the likeliest token.
        top_p: the smallest set of likeliest tokens with this much probability is drawn from.
        stop: texts before the first of which the answer ends.
        logprobs: None, or of how many likeliest tokens at each position the log probability is wanted, beside that of
            the answer's own token: 0 to 20.
        acceleration, overrides: as of a picture.

    Raises:
        InvalidRequestError: a value is out of range, or the image has another form.
    """

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
    """What one evaluation of a picture ran.

    Attributes:
        backbone: all neurons, the task's own, or no pass at all since nothing would have read it.
        head: whether its state was computed, or the last computed one was used again.
        layers_skipped: layers that the pass left out.
    """

    backbone: Literal["full", "pruned", "not_needed"]
    head: Literal["computed", "reused"]
    layers_skipped: int = 0


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class GenerateResult:
    """Pictures and what they took.

    Attributes:
        images: uint8 (height, width, 3) each.
        seeds: one for each picture.
        schedule: counts of what ran: evaluations, backbone_passes, head_passes, ...
        evaluations: what ran, one by one; `schedule` holds their sums.
        prompt_tokens: read of the prompt, with the two around it, and of the negative prompt where there is one.
        timings: milliseconds per component: `tokenize`, `prefix`, `features`, `backbone`, `head`, `guidance_scale`,
            `vae_decode`, `preview` where there were any; `queue` (until the first unit of work), and `total` (from
            that one to the last).
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


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenLogprob:
    """A token and the natural logarithm of its probability, before temperature and top_p.

    Attributes:
        token: its text; bytes that are no UTF-8 by themselves are replacement characters.
        bytes: its bytes, which joined with those of its neighbours are UTF-8.
        logprob: at least -9999.
    """

    token: str
    bytes: tuple[int, ...]
    logprob: float


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenLogprobs:
    """A token of an answer, and the likeliest ones in its place, the likeliest first."""

    chosen: TokenLogprob
    top: tuple[TokenLogprob, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class UnderstandResult:
    """An answer and what it took; `timings` as for pictures: `tokenize`, `vae_encode`, `features`, `prefill`,
    `decode`, `queue`, `time_to_first_token` (from the first unit of work), `total`. `logprobs` of its tokens, without
    the end token, are there where they were asked for."""

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
class Progress:
    """An evaluation of a picture ended."""

    request: int
    step: int
    of: int


@dataclass(frozen=True, slots=True, eq=False)
class Preview:
    """What a picture looks like to become: uint8 (height, width, 3); `index` counts a request's previews from 0."""

    request: int
    index: int
    image: Pixels


@dataclass(frozen=True, slots=True)
class Text:
    """More of an answer; the pieces of one request, joined, are its answer, and their `logprobs` those of its
    tokens: a token comes with the piece that completes its text."""

    request: int
    text: str
    logprobs: tuple[TokenLogprobs, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Finished:
    """A request ended well."""

    request: int
    result: Result


@dataclass(frozen=True, slots=True, eq=False)
class Failed:
    """A request ended without a result: cancelled, too late, or an error of its own."""

    request: int
    error: FlashUError


Event = Progress | Preview | Text | Finished | Failed


@dataclass(frozen=True, kw_only=True, slots=True)
class UnitReport:
    """A unit of work that ran.

    Attributes:
        rows: pictures or answers that it advanced.
        seconds: what it took the host; on a GPU some of its work may still be under way.
        requests: the ids of those that it advanced; none where nobody asked for the unit, as while warming up.
    """

    stage: Stage
    rows: int
    seconds: float
    requests: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelInfo:
    """What a loaded model can do, for those who only see the engine.

    Attributes:
        sizes: pictures it draws, as (width, height) in pixels, the default first.
        num_inference_steps, guidance_scale: the defaults of sampling.
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
    details: Mapping[str, str] = field(default_factory=dict)
