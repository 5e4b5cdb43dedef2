"""Request bodies of the native routes: names, types and ranges that hold for any model. Limits of the loaded model are
checked later. Numbers are strict: no booleans, strings or NaN."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    StringConstraints,
    Tag,
    model_validator,
)
from pydantic_core import PydanticCustomError
from typing_extensions import Self

from flashu_core import GenerateRequest, Task, UnderstandRequest
from flashu_core.limits import (
    MAX_GUIDANCE_SCALE,
    MAX_IMAGES,
    MAX_INFERENCE_STEPS,
    MAX_NEW_TOKENS,
    MAX_PREVIEWS,
    MAX_TEMPERATURE,
    SEEDS,
)
from server.api.schemas.examples import PICTURE, example
from server.limits import MAX_NAME_CHARACTERS, MAX_PRIORITY, MAX_TEXT_CHARACTERS, MAX_TIMEOUT_S, MIN_PRIORITY

OutputFormat = Literal["png", "jpeg", "webp"]


def _one_name(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    return "jpeg" if value.lower() == "jpg" else value.lower()


# As sent: in any case, and jpeg also under its usual file extension.
AnyOutputFormat = Annotated[
    OutputFormat, BeforeValidator(_one_name, json_schema_input_type=Literal["png", "jpeg", "jpg", "webp"])
]


def _not_blank(text: str) -> str:
    if not text.strip():
        raise PydanticCustomError("blank", "must not be empty")
    return text


Text = Annotated[str, StringConstraints(max_length=MAX_TEXT_CHARACTERS)]
FilledText = Annotated[Text, AfterValidator(_not_blank)]
Seed = Annotated[int, Field(ge=0, lt=SEEDS)]
Priority = Annotated[int, Field(ge=MIN_PRIORITY, le=MAX_PRIORITY)]
Timeout = Annotated[float, Field(gt=0, le=MAX_TIMEOUT_S)]
PolicyName = Annotated[str, StringConstraints(min_length=1, max_length=MAX_NAME_CHARACTERS)]
ImageText = Annotated[str, StringConstraints(min_length=1)]
SIZE = r"^[1-9][0-9]{0,4}x[1-9][0-9]{0,4}$"
OverrideName = Annotated[str, StringConstraints(pattern=r"^[a-z_]{1,32}$")]
OverrideValue = Annotated[float, Field(ge=-1e6, le=1e6)]  # far beyond the range of any parameter


class Acceleration(BaseModel):
    """A policy with some of its parameters changed; which parameters exist depends on the task."""

    model_config = ConfigDict(
        extra="allow", strict=True, frozen=True, allow_inf_nan=False, use_attribute_docstrings=True
    )
    __pydantic_extra__: dict[OverrideName, OverrideValue]

    policy: PolicyName | None = None
    """Name of the policy; null is the server's default."""

    @model_validator(mode="before")
    @classmethod
    def _text_is_a_policy(cls, value: Any) -> Any:
        names = value.keys() - cls.model_fields.keys() if isinstance(value, dict) else ()
        if any(isinstance(value[name], str) for name in names):
            raise PydanticCustomError("text", "parameters are numbers, and only policy is text; did you mean policy?")
        return value


def _kind_of_acceleration(value: Any) -> str | None:
    if isinstance(value, str):
        return "name"
    return "object" if isinstance(value, (dict, Acceleration)) else None


AccelerationField = Annotated[
    Annotated[PolicyName, Tag("name")] | Annotated[Acceleration, Tag("object")],
    Discriminator(
        _kind_of_acceleration,
        custom_error_type="acceleration",
        custom_error_message="must be the name of a policy, or an object with policy and parameters of it",
    ),
]


class Body(BaseModel):
    """Base of the native bodies: no unknown fields, no conversion of types."""

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


def applied(acceleration: str | Acceleration | None, default: str) -> tuple[str, dict[str, float]]:
    """The policy's name and the changed parameters of a field `acceleration`."""
    if isinstance(acceleration, Acceleration):
        return acceleration.policy or default, dict(acceleration.__pydantic_extra__)
    return acceleration or default, {}


def pixels(size: str | None) -> tuple[int, int] | tuple[None, None]:
    """Width and height of a field `size`; None for the model's default."""
    if size is None or size == "auto":
        return None, None
    width, height = size.split("x")
    return int(width), int(height)


def check_previews(partial_images: int | None, n: int | None, *, stream: bool | None) -> None:
    """Refuses previews of several pictures, or without a stream.

    Raises:
        PydanticCustomError
    """
    if partial_images and ((n or 1) != 1 or not stream):
        raise PydanticCustomError(
            "partial",
            "previews are of one picture in a stream; set n to 1 and stream to true, or set it to 0",
            {"param": "partial_images"},
        )


class WorkFields(Body):
    """Fields of both tasks."""

    seed: Seed | None = None
    """Seed of the first picture (the next ones count up), or of an answer's sampling; null is a random one."""
    acceleration: AccelerationField | None = None
    """Name of the acceleration policy, or an object with `policy` and the parameters to change; null is the server's
    default."""
    stream: bool = False
    """Whether to respond with server-sent events while the request runs."""
    priority: Priority = 0
    """Requests of lower priority values run first."""
    timeout_s: Timeout | None = None
    """Timeout in seconds; null is the server's default."""


class GenerationFields(WorkFields):
    """Fields of a generation, without the prompt."""

    negative_prompt: Text = ""
    """What the picture should not show: guidance moves away from it."""
    n: Annotated[int, Field(ge=1, le=MAX_IMAGES)] = 1
    """Number of pictures."""
    size: Annotated[str, StringConstraints(pattern=SIZE)] | None = None
    """WIDTHxHEIGHT in pixels, one of the model's `sizes` (`GET /v1/models`); null is its default."""
    num_inference_steps: Annotated[int, Field(ge=2, le=MAX_INFERENCE_STEPS)] | None = None
    """Points of the time grid, one more than denoising steps; null is the model's default."""
    guidance_scale: Annotated[float, Field(ge=0, le=MAX_GUIDANCE_SCALE)] | None = None
    """Strength of classifier-free guidance; null is the model's default."""
    output_format: AnyOutputFormat = "png"
    """File format of the pictures; `jpg` is `jpeg`."""
    output_compression: Annotated[int, Field(ge=0, le=100)] = 90
    """Quality of jpeg and webp; png is lossless and ignores it."""
    response_format: Literal["b64_json", "binary"] = "b64_json"
    """`b64_json` for JSON with base64, `binary` for the file itself (one picture only)."""
    partial_images: Annotated[int, Field(ge=0, le=MAX_PREVIEWS)] = 0
    """Number of previews in a stream; of one picture only."""

    @model_validator(mode="after")
    def _one_picture(self) -> Self:
        if self.response_format == "binary" and (self.n != 1 or self.stream):
            raise PydanticCustomError(
                "binary",
                "binary is for one picture; set n to 1 and stream to false, or use b64_json",
                {"param": "response_format"},
            )
        check_previews(self.partial_images, self.n, stream=self.stream)
        return self

    def _generate_request(self, prompt: str, deadline: float, default: str) -> GenerateRequest:
        policy, overrides = applied(self.acceleration, default)
        width, height = pixels(self.size)
        return GenerateRequest(
            prompt=prompt,
            negative_prompt=self.negative_prompt,
            num_images=self.n,
            width=width,
            height=height,
            num_inference_steps=self.num_inference_steps,
            guidance_scale=self.guidance_scale,
            seed=self.seed,
            acceleration=policy,
            overrides=overrides,
            previews=self.partial_images,
            priority=self.priority,
            deadline=deadline,
        )


class GenerateBody(GenerationFields):
    """A request for pictures."""

    model_config = example(prompt="a large red circle left of a small blue square", seed=7, acceleration="flashu")

    prompt: FilledText
    """What the picture shows; must not be blank."""

    def generate_request(self, deadline: float, default: str) -> GenerateRequest:
        """The engine's request; `default` is the policy if none is named."""
        return self._generate_request(self.prompt, deadline, default)


class AnswerFields(WorkFields):
    """Fields of an answer, without the question."""

    max_new_tokens: Annotated[int, Field(ge=1, le=MAX_NEW_TOKENS)] = 128
    """Maximum length of the answer in tokens."""
    temperature: Annotated[float, Field(ge=0, le=MAX_TEMPERATURE)] = 0.0
    """Sampling temperature; 0 takes the likeliest token."""
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Nucleus sampling: the likeliest tokens with this total probability."""

    def _understand_request(self, question: str, deadline: float, default: str) -> UnderstandRequest:
        policy, overrides = applied(self.acceleration, default)
        return UnderstandRequest(
            question=question,
            max_new_tokens=self.max_new_tokens,
            temperature=self.temperature,
            top_p=self.top_p,
            seed=self.seed,
            acceleration=policy,
            overrides=overrides,
            priority=self.priority,
            deadline=deadline,
        )


class VqaFields(AnswerFields):
    """A question, without the picture: the fields of the multipart form."""

    model_config = example(question="what colour is the circle?")

    question: FilledText
    """Question about the picture; must not be blank."""

    def understand_request(self, deadline: float, default: str) -> UnderstandRequest:
        """The engine's request, without the picture; `default` is the policy if none is named."""
        return self._understand_request(self.question, deadline, default)


class VqaBody(VqaFields):
    """A question about a picture."""

    model_config = example(image=PICTURE, question="what colour is the circle?")

    image: ImageText
    """File as base64 (standard or URL-safe) or as a data URL: PNG, JPEG, WEBP, GIF, AVIF, or HEIC if the server has
    its extra installed; by default up to 64 million pixels and, with the rest of the body, 20 MiB."""


class InferFields(GenerationFields, AnswerFields):
    """A request of either task, without the picture: the fields of the multipart form. Fields of the other task have no
    effect."""

    model_config = example(prompt="draw a red circle", seed=7)

    task: Task | Literal["auto"] = "auto"
    """The task; `auto` chooses by text and picture, and the response gives the reason."""
    prompt: FilledText | None = None
    """The text; send one of `prompt` and `question`."""
    question: FilledText | None = None
    """The same as `prompt`: both names work for both tasks."""

    @model_validator(mode="after")
    def _one_text(self) -> Self:
        if (self.prompt is None) == (self.question is None):
            raise PydanticCustomError("one_text", "send one of prompt and question, not both", {"param": "prompt"})
        return self

    @property
    def text(self) -> str:
        """The text, from `prompt` or `question`."""
        return self.prompt or self.question or ""

    def generate_request(self, deadline: float, default: str) -> GenerateRequest:
        """The engine's request for pictures; `default` is the policy if none is named."""
        return self._generate_request(self.text, deadline, default)

    def understand_request(self, deadline: float, default: str) -> UnderstandRequest:
        """The engine's request for an answer, without the picture; `default` is the policy if none is named."""
        return self._understand_request(self.text, deadline, default)


class InferBody(InferFields):
    """A request of either task."""

    model_config = example(prompt="what colour is the circle?", image=PICTURE)

    image: ImageText | None = None
    """File as base64 or as a data URL, as of `POST /v1/vqa`; a question without one is answered from its text."""
