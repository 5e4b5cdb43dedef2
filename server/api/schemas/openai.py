"""Request bodies of OpenAI's routes for pictures and chat: the fields that have an effect. Fields without one are in
`openai_fields`, messages in `conversation`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Discriminator, Field, StringConstraints, Tag, model_validator
from pydantic_core import PydanticCustomError
from typing_extensions import Self

from flashu_core import GenerateRequest, UnderstandRequest
from flashu_core.limits import (
    MAX_GUIDANCE_SCALE,
    MAX_IMAGES,
    MAX_INFERENCE_STEPS,
    MAX_LOGPROBS,
    MAX_NEW_TOKENS,
    MAX_PREVIEWS,
    MAX_STOPS,
)
from server.api.schemas.conversation import (
    Message,
    Picture,
    UserMessage,
    check_text,
    kind_of_content,
    last_picture,
    review_messages,
)
from server.api.schemas.examples import PICTURE, example
from server.api.schemas.native import (
    SIZE,
    AccelerationField,
    AnyOutputFormat,
    FilledText,
    Priority,
    Seed,
    Text,
    Timeout,
    applied,
    check_previews,
    pixels,
)
from server.api.schemas.openai_fields import CHAT, IMAGES, NoEffect, OpenBody
from server.api.schemas.warnings import Warnings
from server.errors import UnsupportedValueError
from server.intent.classify import Unrouted
from server.limits import MAX_MESSAGES, MAX_MODEL_CHARACTERS, MAX_STOP_CHARACTERS

RANDOM_SEED = -1  # as in other image servers
UNBOUNDED = -1  # as in llama.cpp and LM Studio
ModelName = Annotated[str, StringConstraints(min_length=1, max_length=MAX_MODEL_CHARACTERS)]
Stop = Annotated[str, StringConstraints(min_length=1, max_length=MAX_STOP_CHARACTERS)]
Stops = Annotated[
    Annotated[Stop, Tag("text")] | Annotated[list[Stop], Field(max_length=MAX_STOPS), Tag("list")],
    Discriminator(kind_of_content, custom_error_type="stop", custom_error_message="must be text or a list of texts"),
]


def _random(value: Any) -> Any:
    return None if value == RANDOM_SEED and not isinstance(value, bool) else value


def _all_there_is(value: Any) -> Any:
    return MAX_NEW_TOKENS if value == UNBOUNDED and not isinstance(value, bool) else value


NewTokens = Annotated[
    Annotated[int, Field(ge=1)] | None,
    BeforeValidator(_all_there_is, json_schema_input_type=Annotated[int, Field(ge=1)] | Literal[-1] | None),
]
AnySeed = Annotated[Seed | None, BeforeValidator(_random, json_schema_input_type=Seed | Literal[-1] | None)]


class OpenAIBody(OpenBody):
    """Fields that OpenAI's bodies share, and those that this server adds."""

    stream: bool | None = None
    """Whether to respond with server-sent events while the request runs."""
    seed: AnySeed = None
    """Seed of the first picture (the next ones count up), or of an answer's sampling; -1 and null are a random one."""
    negative_prompt: Text = ""
    """What the picture should not show: guidance moves away from it."""
    num_inference_steps: Annotated[int, Field(ge=2, le=MAX_INFERENCE_STEPS)] | None = None
    """Points of a picture's time grid, one more than denoising steps; null is the model's default."""
    guidance_scale: Annotated[float, Field(ge=0, le=MAX_GUIDANCE_SCALE)] | None = None
    """Strength of a picture's classifier-free guidance; null is the model's default."""
    acceleration: AccelerationField | None = None
    """Name of the acceleration policy, or an object with `policy` and the parameters to change; null is the server's
    default."""
    priority: Priority = 0
    """Requests of lower priority values run first."""
    timeout_s: Timeout | None = None
    """Timeout in seconds; null is the server's default."""
    size: Annotated[str, StringConstraints(pattern=f"^auto$|{SIZE}")] | None = None
    """WIDTHxHEIGHT in pixels of a picture, one of the model's `sizes`; `auto` and null are its default."""

    def _generate_request(
        self,
        prompt: str,
        deadline: float,
        default: str,
        *,
        num_images: int = 1,
        previews: int = 0,
        size: str | None = None,
    ) -> GenerateRequest:
        policy, overrides = applied(self.acceleration, default)
        width, height = pixels(size or self.size)
        return GenerateRequest(
            prompt=prompt,
            negative_prompt=self.negative_prompt,
            num_images=num_images,
            width=width,
            height=height,
            num_inference_steps=self.num_inference_steps,
            guidance_scale=self.guidance_scale,
            seed=self.seed,
            acceleration=policy,
            overrides=overrides,
            previews=previews,
            priority=self.priority,
            deadline=deadline,
        )


class ImagesBody(OpenAIBody):
    """A request for pictures."""

    model_config = example(model="shapes-64", prompt="a large red circle left of a small blue square", n=1, seed=7)

    no_effect: ClassVar[Mapping[str, NoEffect]] = IMAGES

    prompt: FilledText
    """What the picture shows; must not be blank."""
    model: ModelName | None = None
    """Name of the loaded model; null is that model."""
    n: Annotated[int, Field(ge=1, le=MAX_IMAGES)] | None = None
    """Number of pictures; null is 1."""
    response_format: Literal["b64_json", "url"] | None = None
    """`b64_json` (also null) for base64, `url` for addresses where the pictures are stored for an hour, if the server
    stores pictures."""
    output_format: AnyOutputFormat | None = None
    """File format of the pictures; null is `png`, `jpg` is `jpeg`."""
    output_compression: Annotated[int, Field(ge=0, le=100)] | None = None
    """Quality of jpeg and webp; null is 100."""
    partial_images: Annotated[int, Field(ge=0, le=MAX_PREVIEWS)] | None = None
    """Number of previews in a stream; of one picture only."""

    @model_validator(mode="after")
    def _one_picture(self) -> Self:
        check_previews(self.partial_images, self.n, stream=self.stream)
        return self

    def generate_request(self, deadline: float, default: str) -> GenerateRequest:
        """The engine's request; `default` is the policy if none is named."""
        return self._generate_request(
            self.prompt, deadline, default, num_images=self.n or 1, previews=self.partial_images or 0
        )


class StreamOptions(OpenBody):
    """Options of a stream."""

    no_effect: ClassVar[Mapping[str, NoEffect]] = {
        "include_obfuscation": NoEffect(reason="streams are not padded"),
        "continuous_usage_stats": NoEffect(reason="tokens are counted at the end"),
    }

    include_usage: bool | None = None
    """Whether the last chunk has the token counts."""


class TextBody(OpenAIBody):
    """Fields of bodies that may request text."""

    model: ModelName
    """Name of the loaded model."""
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    """Sampling temperature; 0 and null take the likeliest token."""
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    """Nucleus sampling: the likeliest tokens with this total probability; null is 1."""

    def _understand_request(
        self,
        question: str,
        deadline: float,
        default: str,
        *,
        max_new_tokens: int,
        stop: tuple[str, ...] = (),
        logprobs: int | None = None,
    ) -> UnderstandRequest:
        policy, overrides = applied(self.acceleration, default)
        return UnderstandRequest(
            question=question,
            max_new_tokens=min(max_new_tokens, MAX_NEW_TOKENS),
            temperature=self.temperature or 0.0,
            top_p=1.0 if self.top_p is None else self.top_p,
            stop=stop,
            logprobs=logprobs,
            seed=self.seed,
            acceleration=policy,
            overrides=overrides,
            priority=self.priority,
            deadline=deadline,
        )


def listed(stop: str | Sequence[str] | None) -> tuple[str, ...]:
    """The texts of a field `stop`."""
    return (stop,) if isinstance(stop, str) else tuple(stop or ())


class ChatBody(TextBody):
    """A conversation. Its last turn is generated or answered: the model's template has one turn. A question is about
    the conversation's last picture, in a message of any role; the text of earlier turns is not read."""

    model_config = example(
        model="shapes-64",
        messages=[
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "what colour is the circle?"},
                    {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PICTURE}"}},
                ],
            }
        ],
        max_tokens=16,
    )

    no_effect: ClassVar[Mapping[str, NoEffect]] = CHAT

    messages: Annotated[list[Message], Field(min_length=1, max_length=MAX_MESSAGES)]
    """The conversation; the last message must be the user's."""
    modalities: Annotated[list[Literal["text", "image", "audio"]], Field(max_length=3)] | None = None
    """`["image"]` generates a picture, `["text"]` answers; with both or none the text decides. Audio is refused."""
    max_tokens: NewTokens = None
    """Maximum length of an answer in tokens; null is 128. Reduced to the model's limit, and to what can be
    decoded before the timeout; -1 is that maximum."""
    max_completion_tokens: NewTokens = None
    """Newer name of `max_tokens`."""
    stop: Stops | None = None
    """One to four texts; an answer ends before the first of them."""
    stream_options: StreamOptions | None = None
    """Options of a stream; ignored without `stream`."""

    logprobs: bool | None = None
    """Whether to return the log probabilities of an answer's tokens, before temperature and top_p."""
    top_logprobs: Annotated[int, Field(ge=0, le=MAX_LOGPROBS)] | None = None
    """Number of likeliest tokens to return at each position; needs `logprobs`."""

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        last = self.messages[-1]
        if not isinstance(last, UserMessage):
            raise PydanticCustomError("last_turn", "the last message must be the user's", {"param": "messages"})
        check_text(last, "messages")
        if self.max_tokens and self.max_completion_tokens and self.max_tokens != self.max_completion_tokens:
            raise PydanticCustomError(
                "tokens",
                "max_tokens and max_completion_tokens differ; send one of them",
                {"param": "max_completion_tokens"},
            )
        return self

    def review(self, warnings: Warnings) -> None:
        """Warns of messages that are not read, and of a length that is reduced.

        Raises:
            UnsupportedValueError
        """
        if self.modalities and "audio" in self.modalities:
            raise UnsupportedValueError("modalities", "it has no audio output; send text, image or both")
        review_messages(self.messages, warnings)
        for name in ("max_tokens", "max_completion_tokens"):
            if (getattr(self, name) or 0) > MAX_NEW_TOKENS:
                warnings.add(name, f"reduced to {MAX_NEW_TOKENS}, the model's limit")
        if self.stream_options is not None and not self.stream:
            warnings.add("stream_options", "ignored: stream is not true")
        if self.top_logprobs is not None and not self.logprobs:
            warnings.add("top_logprobs", "ignored: logprobs is not true")

    @property
    def text(self) -> str:
        """The last turn's text."""
        last = self.messages[-1]
        return last.text if isinstance(last, UserMessage) else ""

    @property
    def wanted_logprobs(self) -> int | None:
        """Number of likeliest tokens to report log probabilities for; None for no log probabilities."""
        return (self.top_logprobs or 0) if self.logprobs else None

    @property
    def picture(self) -> Picture | None:
        """The picture that a question is about: the conversation's last."""
        return last_picture(self.messages)

    @property
    def own_picture(self) -> Picture | None:
        """The picture of the last turn itself."""
        picture = self.picture
        return picture if picture is not None and picture.message == len(self.messages) - 1 else None

    @property
    def wants_usage(self) -> bool:
        """Whether a stream ends with token counts."""
        return self.stream_options is not None and bool(self.stream_options.include_usage)

    def unrouted(self) -> Unrouted:
        """What the task is chosen by."""
        return Unrouted(
            text=self.text,
            image=self.own_picture is not None,
            earlier=self.picture is not None,
            modalities=[modality for modality in self.modalities or () if modality != "audio"],
        )

    def generate_request(self, deadline: float, default: str) -> GenerateRequest:
        """The engine's request for a picture; `default` is the policy if none is named."""
        return self._generate_request(self.text, deadline, default)

    def understand_request(self, deadline: float, default: str) -> UnderstandRequest:
        """The engine's request for an answer, without the picture; `default` is the policy if none is named."""
        return self._understand_request(
            self.text,
            deadline,
            default,
            max_new_tokens=self.max_completion_tokens or self.max_tokens or 128,
            stop=listed(self.stop),
            logprobs=self.wanted_logprobs,
        )
