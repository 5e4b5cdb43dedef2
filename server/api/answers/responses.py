"""The answer of `POST /v1/responses` without a stream: OpenAI's fields, and what this server adds to them."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel

from server.api.answers.native import Routing
from server.api.answers.openai import ContentLogprob, WorkDone
from server.api.schemas.native import OutputFormat


class OutputText(BaseModel):
    type: Literal["output_text"]
    text: str
    annotations: list[Any]
    logprobs: list[ContentLogprob]


class OutputMessage(BaseModel):
    """An answer."""

    id: str
    type: Literal["message"]
    role: Literal["assistant"]
    status: Literal["completed", "incomplete"]
    content: list[OutputText]


class OutputImage(BaseModel):
    """A picture."""

    id: str
    type: Literal["image_generation_call"]
    status: Literal["completed"]
    result: str
    """Base64 of the file."""
    action: Literal["generate"]
    background: Literal["opaque"]
    output_format: OutputFormat
    quality: Literal["auto"]
    size: str
    seed: int


class IncompleteDetails(BaseModel):
    reason: Literal["max_output_tokens"]


class InputTokensDetails(BaseModel):
    cached_tokens: int
    cache_write_tokens: int


class OutputTokensDetails(BaseModel):
    reasoning_tokens: int


class ResponseUsage(BaseModel):
    input_tokens: int
    input_tokens_details: InputTokensDetails
    output_tokens: int
    output_tokens_details: OutputTokensDetails
    total_tokens: int


class ResponsesAnswer(WorkDone):
    """A response."""

    id: str
    object: Literal["response"]
    created_at: int
    completed_at: int
    status: Literal["completed", "incomplete"]
    error: None
    incomplete_details: IncompleteDetails | None
    model: str
    output: list[OutputMessage | OutputImage]
    usage: ResponseUsage
    temperature: float
    top_p: float
    max_output_tokens: int | None
    tools: list[dict[str, str]]
    tool_choice: str
    parallel_tool_calls: bool
    store: bool
    background: bool
    instructions: None
    previous_response_id: None
    reasoning: dict[str, None]
    text: dict[str, dict[str, str]]
    truncation: Literal["disabled"]
    metadata: dict[str, str]
    routing: Routing
