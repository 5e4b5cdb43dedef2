"""Response body of `POST /v1/responses`: OpenAI's fields, and those that this server adds."""

from __future__ import annotations

from typing import Any, Literal

from server.api.answers.native import Out, Routing, WorkDone
from server.api.answers.openai import ContentLogprob
from server.api.schemas.native import OutputFormat


class OutputText(Out):
    """Text of a message."""

    type: Literal["output_text"]
    """Always `output_text`."""
    text: str
    """The answer."""
    annotations: list[Any]
    """Always empty."""
    logprobs: list[ContentLogprob]
    """Log probabilities of its tokens, if requested; else empty."""


class OutputMessage(Out):
    """An answer."""

    id: str
    """Unique id of the item."""
    type: Literal["message"]
    """Always `message`."""
    role: Literal["assistant"]
    """Always `assistant`."""
    status: Literal["completed", "incomplete"]
    """`incomplete` if the answer reached its maximum length."""
    content: list[OutputText]
    """One text."""


class OutputImage(Out):
    """A generated picture."""

    id: str
    """Unique id of the item."""
    type: Literal["image_generation_call"]
    """Always `image_generation_call`."""
    status: Literal["completed"]
    """Always `completed`."""
    result: str
    """The file as base64."""
    action: Literal["generate"]
    """Always `generate`."""
    background: Literal["opaque"]
    """Always `opaque`."""
    output_format: OutputFormat
    """File format of the picture."""
    quality: Literal["auto"]
    """Always `auto`."""
    size: str
    """WIDTHxHEIGHT in pixels."""
    seed: int
    """Seed that generates this picture again."""


class IncompleteDetails(Out):
    """Why a response is incomplete."""

    reason: Literal["max_output_tokens"]
    """The answer reached its maximum length."""


class InputTokensDetails(Out):
    """Input tokens by kind."""

    cached_tokens: int
    """Always 0."""
    cache_write_tokens: int
    """Always 0."""


class OutputTokensDetails(Out):
    """Output tokens by kind."""

    reasoning_tokens: int
    """Always 0."""


class ResponseUsage(Out):
    """Token counts."""

    input_tokens: int
    """Tokens of the prompt or question."""
    input_tokens_details: InputTokensDetails
    """Input tokens by kind."""
    output_tokens: int
    """Tokens of the answer; 0 for pictures."""
    output_tokens_details: OutputTokensDetails
    """Output tokens by kind."""
    total_tokens: int
    """Sum of input and output."""


class ResponsesAnswer(WorkDone):
    """A response."""

    id: str
    """Unique id of the response."""
    object: Literal["response"]
    """Always `response`."""
    created_at: int
    """Unix time in seconds when the request was accepted."""
    completed_at: int
    """Unix time in seconds when the response was complete."""
    status: Literal["completed", "incomplete"]
    """`incomplete` if the answer reached its maximum length."""
    error: None
    """Always null."""
    incomplete_details: IncompleteDetails | None
    """Why the response is incomplete; else null."""
    model: str
    """The model's name, as requested."""
    output: list[OutputMessage | OutputImage]
    """One message or one picture."""
    usage: ResponseUsage
    """Token counts."""
    temperature: float
    """Temperature of the answer."""
    top_p: float
    """`top_p` of the answer."""
    max_output_tokens: int | None
    """Maximum length of the answer, as requested."""
    tools: list[dict[str, str]]
    """`image_generation`, if the request has it."""
    tool_choice: str
    """Always `auto`."""
    parallel_tool_calls: bool
    """Always false."""
    store: bool
    """Always false."""
    background: bool
    """Always false."""
    instructions: None
    """Always null."""
    previous_response_id: None
    """Always null."""
    reasoning: dict[str, None]
    """Always without values."""
    text: dict[str, dict[str, str]]
    """Format of the text: always plain."""
    truncation: Literal["disabled"]
    """Always `disabled`."""
    metadata: dict[str, str]
    """Always empty."""
    routing: Routing
    """The chosen task, and why."""
