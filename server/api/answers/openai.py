"""Response bodies of the OpenAI-compatible routes: OpenAI's fields, and those that this server adds. Pictures take
denoising steps, counted in `schedule`, and no tokens."""

from __future__ import annotations

from typing import Literal

from server.api.answers.native import Out, Routing, Usage, WorkDone
from server.api.schemas.native import OutputFormat


class ImageData(Out):
    """A picture."""

    b64_json: str | None = None
    """The file as base64; absent if `response_format` is `url`."""
    url: str | None = None
    """Address where the file is kept for an hour; absent unless `response_format` is `url`."""
    seed: int
    """Seed that generates this picture again."""


class InputDetails(Out):
    """Input tokens by kind."""

    text_tokens: int
    """Tokens of the prompts."""
    image_tokens: int
    """Always 0."""


class ImagesUsage(Out):
    """Token counts; pictures are not made of tokens."""

    input_tokens: int
    """Tokens of the prompts."""
    input_tokens_details: InputDetails
    """Input tokens by kind."""
    output_tokens: int
    """Always 0."""
    total_tokens: int
    """Sum of both."""


class ImagesAnswer(WorkDone):
    """Generated pictures."""

    created: int
    """Unix time in seconds."""
    data: list[ImageData]
    """The pictures, in the order of their seeds."""
    size: str
    """WIDTHxHEIGHT in pixels."""
    quality: Literal["auto"]
    """Always `auto`."""
    background: Literal["opaque"]
    """Always `opaque`."""
    output_format: OutputFormat
    """File format of the pictures."""
    usage: ImagesUsage
    """Token counts."""


class ImageUrl(Out):
    """Where a picture is."""

    url: str
    """A data URL."""


class ImageOut(Out):
    """A picture in a message."""

    type: Literal["image_url"]
    """Always `image_url`."""
    index: int
    """Number of the picture, counted from 0."""
    image_url: ImageUrl
    """The picture."""


class ChatMessage(Out):
    """The assistant's message."""

    role: Literal["assistant"]
    """Always `assistant`."""
    content: str | None
    """The answer; null if the message is a picture."""
    refusal: None
    """Always null."""
    images: list[ImageOut] | None = None
    """The picture; absent if the message is text."""


class TopLogprob(Out):
    """A token and its log probability."""

    token: str
    """Text of the token."""
    bytes: list[int]
    """UTF-8 bytes of the token."""
    logprob: float
    """Natural logarithm of its probability, before temperature and top_p."""


class ContentLogprob(TopLogprob):
    """A token of the answer and the likeliest tokens at its position."""

    top_logprobs: list[TopLogprob]
    """The likeliest tokens, as many as `top_logprobs` of the request."""


class Logprobs(Out):
    """Log probabilities of an answer."""

    content: list[ContentLogprob]
    """One entry per token."""
    refusal: None
    """Always null."""


class Choice(Out):
    """The one choice of a completion."""

    index: int
    """Always 0."""
    message: ChatMessage
    """The message."""
    finish_reason: Literal["stop", "length"]
    """`stop`: the model ended the answer; `length`: it reached its maximum length."""
    logprobs: Logprobs | None
    """Log probabilities of an answer, if `logprobs` is true; else null."""


class ChatAnswer(WorkDone):
    """A chat completion."""

    id: str
    """Unique id of the completion."""
    object: Literal["chat.completion"]
    """Always `chat.completion`."""
    created: int
    """Unix time in seconds."""
    model: str
    """The model's name, as requested."""
    choices: list[Choice]
    """One choice."""
    usage: Usage
    """Token counts."""
    routing: Routing
    """The chosen task, and why."""


class LegacyLogprobs(Out):
    """Log probabilities of a text, as lists of equal length."""

    tokens: list[str]
    """Texts of the tokens."""
    token_logprobs: list[float]
    """Log probability of each token."""
    top_logprobs: list[dict[str, float]]
    """At each position, the likeliest tokens and their log probabilities."""
    text_offset: list[int]
    """Index in `text` of each token's first character."""


class CompletionChoice(Out):
    """The answer to one prompt."""

    text: str
    """The answer, after the prompt if `echo` is true."""
    index: int
    """Index of the prompt."""
    finish_reason: Literal["stop", "length"]
    """`stop`: the model ended the answer; `length`: it reached `max_tokens`."""
    logprobs: LegacyLogprobs | None
    """Log probabilities, if the request has `logprobs`; else null."""


class CompletionAnswer(WorkDone):
    """A text completion. Counts, timings and schedule are sums over all prompts."""

    id: str
    """Unique id of the completion."""
    object: Literal["text_completion"]
    """Always `text_completion`."""
    created: int
    """Unix time in seconds."""
    model: str
    """The model's name, as requested."""
    choices: list[CompletionChoice]
    """One choice per prompt, in order."""
    usage: Usage
    """Token counts of all prompts and answers."""


class Model(Out):
    """A model in OpenAI's form, with its capabilities."""

    id: str
    """Name to send as `model`."""
    object: Literal["model"]
    """Always `model`."""
    created: int
    """Unix time in seconds when the server started."""
    owned_by: str
    """Always `flashu`."""
    parameters: int
    """Number of parameters."""
    dtype: str
    """Data type of its weights."""
    device: str
    """Device that it runs on."""
    sizes: list[str]
    """Sizes of pictures that it generates, as WIDTHxHEIGHT; the first is the default."""
    num_inference_steps: int
    """Default of `num_inference_steps`."""
    guidance_scale: float
    """Default of `guidance_scale`."""
    policies: list[str]
    """Names of the acceleration policies."""
    max_prompt_tokens: int
    """Maximum length of a prompt or question in tokens."""


class ModelList(Out):
    """All names of the loaded model."""

    object: Literal["list"]
    """Always `list`."""
    data: list[Model]
    """One entry per name."""
