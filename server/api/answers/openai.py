"""What the OpenAI-compatible routes answer with when they do not stream: OpenAI's fields, and what this server adds to
them. Drawing takes evaluations, told in `schedule`, and makes no tokens: pictures count 0."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel

from server.api.answers.native import Routing, Usage, WarningOut
from server.api.schemas.native import OutputFormat


class WorkDone(BaseModel):
    """What this server adds to OpenAI's answers."""

    acceleration: str | dict[str, str | float]
    timings_ms: dict[str, float]
    schedule: dict[str, int]
    warnings: list[WarningOut] | None = None
    """Fields that had no effect; left out where there were none. The header `X-Flashu-Warnings` names them too."""


class ImageData(BaseModel):
    b64_json: str | None = None
    """The file; left out where an address was asked for."""
    url: str | None = None
    """Where the file is kept for an hour; left out where it was not asked for."""
    seed: int


class InputDetails(BaseModel):
    text_tokens: int
    image_tokens: int


class ImagesUsage(BaseModel):
    """Tokens read of the prompts; drawing makes none."""

    input_tokens: int
    input_tokens_details: InputDetails
    output_tokens: int
    total_tokens: int


class ImagesAnswer(WorkDone):
    """Pictures."""

    created: int
    data: list[ImageData]
    size: str
    quality: Literal["auto"]
    background: Literal["opaque"]
    output_format: OutputFormat
    usage: ImagesUsage


class ImageUrl(BaseModel):
    url: str
    """A data URL."""


class ImageOut(BaseModel):
    type: Literal["image_url"]
    index: int
    image_url: ImageUrl


class ChatMessage(BaseModel):
    role: Literal["assistant"]
    content: str | None
    """The answer; null where it is a picture."""
    refusal: None
    images: list[ImageOut] | None = None
    """The picture, where the turn asked for one; else left out."""


class TopLogprob(BaseModel):
    token: str
    bytes: list[int]
    logprob: float


class ContentLogprob(TopLogprob):
    top_logprobs: list[TopLogprob]


class Logprobs(BaseModel):
    content: list[ContentLogprob]
    refusal: None


class Choice(BaseModel):
    index: int
    message: ChatMessage
    finish_reason: Literal["stop", "length"]
    logprobs: Logprobs | None
    """Where they were asked for, of an answer."""


class ChatAnswer(WorkDone):
    """A turn of the assistant's."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[Choice]
    usage: Usage
    """Of a drawn turn: tokens read of the prompt; drawing makes none."""
    routing: Routing


class LegacyLogprobs(BaseModel):
    """Of the tokens of a text, in lists as long as each other."""

    tokens: list[str]
    token_logprobs: list[float]
    top_logprobs: list[dict[str, float]]
    text_offset: list[int]


class CompletionChoice(BaseModel):
    text: str
    index: int
    finish_reason: Literal["stop", "length"]
    logprobs: LegacyLogprobs | None


class CompletionAnswer(WorkDone):
    """A choice for each prompt; counts, timings and schedule are of all of them together."""

    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    choices: list[CompletionChoice]
    usage: Usage


class Model(BaseModel):
    """A model, in OpenAI's form, and what it can do."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    parameters: int
    dtype: str
    device: str
    sizes: list[str]
    num_inference_steps: int
    guidance_scale: float
    policies: list[str]
    max_prompt_tokens: int


class ModelList(BaseModel):
    object: Literal["list"]
    data: list[Model]
