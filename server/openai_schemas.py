"""Bodies of the OpenAI-compatible routes, turned into the native ones. It knows which of OpenAI's fields mean something
here: those that would change nothing are taken only at the value that says so, all others are refused by name."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError
from typing_extensions import Self

from server.routing import Modality, Unrouted
from server.schemas import (
    SIZE,
    Acceleration,
    Body,
    FilledText,
    GenerateBody,
    OutputFormat,
    PolicyName,
    Priority,
    Seed,
    Text,
    Timeout,
    VqaFields,
)

_MOST_MESSAGES = 256
_MOST_PARTS = 64
NewTokens = Annotated[int, Field(ge=1, le=4096)]
Nothing = Annotated[float, Field(ge=0, le=0)]
EndUser = Annotated[str, StringConstraints(max_length=512)]
ModelName = Annotated[str, StringConstraints(min_length=1, max_length=512)]
Stop = Annotated[str, StringConstraints(min_length=1, max_length=256)]


class _OpenAIBody(Body):
    """What this server adds to OpenAI's bodies, and the fields that both have."""

    user: EndUser | None = None
    """Taken, neither used nor kept."""
    safety_identifier: EndUser | None = None
    """Taken, neither used nor kept."""
    stream: bool | None = None
    """Whether to answer with events while the work goes on."""
    seed: Seed | None = None
    """Of the first picture (the next ones count up), or of an answer's draws; null draws one."""
    negative_prompt: Text = ""
    """What a picture is guided away from."""
    steps: Annotated[int, Field(ge=2, le=1000)] | None = None
    """Points of a picture's time grid; null takes the model's default."""
    guidance: Annotated[float, Field(ge=0, le=100)] | None = None
    """Strength of a picture's guidance; null takes the model's default."""
    acceleration: PolicyName | Acceleration | None = None
    """Name of the acceleration policy, or an object with `policy` and parameters of it to change."""
    priority: Priority = 0
    """Lower runs first."""
    timeout_s: Timeout | None = None
    """Seconds after which the result is of no use; null takes the server's default."""
    size: Annotated[str, StringConstraints(pattern=f"^auto$|{SIZE}")] | None = None
    """WIDTHxHEIGHT, one of those the model draws; auto and null take its default."""

    def _drawing(self, prompt: str, **fields: Any) -> GenerateBody:
        return GenerateBody(
            prompt=prompt,
            negative_prompt=self.negative_prompt,
            size=None if self.size == "auto" else self.size,
            num_inference_steps=self.steps,
            guidance_scale=self.guidance,
            seed=self.seed,
            acceleration=self.acceleration,
            stream=bool(self.stream),
            priority=self.priority,
            timeout_s=self.timeout_s,
            **fields,
        )


class ImagesBody(_OpenAIBody):
    """`POST /v1/images/generations`."""

    prompt: FilledText
    """What the picture shows; blank is refused."""
    model: ModelName | None = None
    """The loaded model's name, where one is given."""
    n: Annotated[int, Field(ge=1, le=8)] | None = None
    """How many pictures; null is one."""
    response_format: Literal["b64_json"] | None = None
    """Pictures come as base64; this server keeps none to link to."""
    output_format: OutputFormat | None = None
    """File format of the pictures; null is png."""
    output_compression: Annotated[int, Field(ge=0, le=100)] | None = None
    """Quality of jpeg and webp; null is 100."""
    partial_images: Annotated[int, Field(ge=0, le=3)] | None = None
    """How many previews a stream shows on the way; of one picture only."""
    quality: Literal["auto", "standard"] | None = None
    """One quality only: use `steps`, `guidance` and `acceleration`."""
    background: Literal["auto", "opaque"] | None = None
    """Pictures are opaque."""
    moderation: Literal["auto", "low"] | None = None
    """Taken; nothing is moderated."""
    style: None = None
    """No such choice: describe the style in the prompt."""

    def as_native(self) -> GenerateBody:
        """The native body."""
        return self._drawing(
            self.prompt,
            n=self.n or 1,
            output_format=self.output_format or "png",
            output_compression=100 if self.output_compression is None else self.output_compression,
            partial_images=self.partial_images or 0,
        )


class TextPart(Body):
    type: Literal["text"]
    text: Text


class ImageAddress(Body):
    url: Annotated[str, StringConstraints(min_length=1)]
    """A data URL."""
    detail: Literal["auto", "low", "high"] | None = None
    """Taken; pictures are always read at the model's own size."""


class ImagePart(Body):
    type: Literal["image_url"]
    image_url: ImageAddress


Part = Annotated[TextPart | ImagePart, Field(discriminator="type")]


class UserMessage(Body):
    role: Literal["user"]
    content: Text | Annotated[list[Part], Field(max_length=_MOST_PARTS)]
    name: str | None = None

    @property
    def text(self) -> str:
        """All its text."""
        if isinstance(self.content, str):
            return self.content
        return "\n".join(part.text for part in self.content if isinstance(part, TextPart))

    @property
    def images(self) -> list[str]:
        """The addresses of its pictures."""
        if isinstance(self.content, str):
            return []
        return [part.image_url.url for part in self.content if isinstance(part, ImagePart)]


class OtherMessage(Body):
    """What was said by others; clients send it back as they got it, with fields of their own."""

    model_config = ConfigDict(extra="ignore")

    role: Literal["system", "developer", "assistant"]


class StreamOptions(Body):
    include_usage: bool | None = None
    include_obfuscation: Literal[False] | None = None


class TextFormat(Body):
    type: Literal["text"]


class ChatBody(_OpenAIBody):
    """`POST /v1/chat/completions`. The last turn is what is drawn or answered: the model's template has one turn. A
    question without a picture is about the last one that the user sent before; what others said is not read."""

    model: ModelName
    """The loaded model's name."""
    messages: Annotated[
        list[Annotated[UserMessage | OtherMessage, Field(discriminator="role")]],
        Field(min_length=1, max_length=_MOST_MESSAGES),
    ]
    """The last one must be the user's."""
    modalities: Annotated[list[Modality], Field(max_length=2)] | None = None
    """`["image"]` draws, `["text"]` answers; with both or none the text decides."""
    max_tokens: NewTokens | None = None
    """Length of an answer at most; null is 128."""
    max_completion_tokens: NewTokens | None = None
    """The same under its newer name."""
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    """0 and null take the likeliest token."""
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    """Share of probability that tokens are drawn from; null is 1."""
    n: Annotated[int, Field(ge=1, le=1)] | None = None
    """One choice only."""
    stop: Stop | Annotated[list[Stop], Field(max_length=4)] | None = None
    """Texts before the first of which an answer ends."""
    stream_options: StreamOptions | None = None
    frequency_penalty: Nothing | None = None
    presence_penalty: Nothing | None = None
    logprobs: Literal[False] | None = None
    response_format: TextFormat | None = None
    store: Literal[False] | None = None

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        last = self.messages[-1]
        if not isinstance(last, UserMessage):
            raise PydanticCustomError("last_turn", "the last message must be the user's")
        if not last.text.strip():
            raise PydanticCustomError("blank", "the last message has no text; say what to draw or to answer")
        if len(last.images) > 1:
            raise PydanticCustomError("one_image", "the last message has several pictures; send one")
        if self.max_tokens and self.max_completion_tokens and self.max_tokens != self.max_completion_tokens:
            raise PydanticCustomError("tokens", "max_tokens and max_completion_tokens differ; send one of them")
        if self.stream_options is not None and not self.stream:
            raise PydanticCustomError("stream_options", "stream_options are for streams; set stream to true")
        return self

    @property
    def _turns(self) -> list[UserMessage]:
        return [message for message in self.messages if isinstance(message, UserMessage)]

    @property
    def text(self) -> str:
        """The last turn's text."""
        return self._turns[-1].text

    @property
    def image(self) -> str | None:
        """The address of the picture that the last turn may be about: its own, or the last one before."""
        pictures = [address for turn in self._turns for address in turn.images]
        return pictures[-1] if pictures else None

    @property
    def stops(self) -> tuple[str, ...]:
        """Where an answer ends."""
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())

    @property
    def wants_usage(self) -> bool:
        """Whether a stream ends with the counts of tokens."""
        return self.stream_options is not None and bool(self.stream_options.include_usage)

    def unrouted(self) -> Unrouted:
        """What the task is decided by."""
        return Unrouted(text=self.text, image=self.image is not None, modalities=self.modalities or ())

    def as_generate(self) -> GenerateBody:
        """The native body of a drawing."""
        return self._drawing(self.text)

    def as_vqa(self) -> VqaFields:
        """The native body of a question."""
        return VqaFields(
            question=self.text,
            max_new_tokens=self.max_completion_tokens or self.max_tokens or 128,
            temperature=self.temperature or 0.0,
            top_p=1.0 if self.top_p is None else self.top_p,
            seed=self.seed,
            acceleration=self.acceleration,
            stream=bool(self.stream),
            priority=self.priority,
            timeout_s=self.timeout_s,
        )
