"""Request body of `POST /v1/responses`, OpenAI's newest route: its items are read as the messages of a chat. Nothing is
stored between requests, so references to earlier responses are refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, StringConstraints, Tag, model_validator
from pydantic_core import PydanticCustomError
from typing_extensions import Self

from flashu_core import GenerateRequest, UnderstandRequest
from flashu_core.limits import MAX_LOGPROBS, MAX_NEW_TOKENS, MAX_PREVIEWS
from server.api.schemas.conversation import (
    Picture,
    UserMessage,
    check_text,
    kind_of_content,
    last_picture,
    pictures_in,
    review_messages,
)
from server.api.schemas.examples import example
from server.api.schemas.native import SIZE, AnyOutputFormat, FilledText
from server.api.schemas.openai import NewTokens, TextBody
from server.api.schemas.openai_fields import IMAGES, TEXT, NoEffect, OpenBody
from server.api.schemas.warnings import Warnings
from server.errors import UnsupportedValueError
from server.intent.classify import Modality, Unrouted
from server.limits import MAX_MESSAGES, MAX_NAME_CHARACTERS, MAX_TOOLS

PICTURE_ID = "ig_"  # prefix of the ids of pictures, as in OpenAI's API
_DEFAULT_TOKENS = 128
_LOGPROBS = "message.output_text.logprobs"
_KEEPS_NOTHING = "nothing is stored between requests"
_NOT_KEPT = NoEffect(reason=_KEEPS_NOTHING, neutral=lambda value: not value, remedy="send the earlier items in input")
_NO_REASONING = NoEffect(reason="it answers without reasoning first")


def _plain_text(value: Any) -> bool:
    form = value.get("format") if isinstance(value, dict) else None
    return form is None or (isinstance(form, dict) and form.get("type") == "text")


RESPONSES = {
    **TEXT,
    "parallel_tool_calls": NoEffect(reason="image_generation is its only tool, called once"),
    "instructions": NoEffect(reason="instructions are not read by this model"),
    "previous_response_id": _NOT_KEPT,
    "conversation": _NOT_KEPT,
    "prompt": NoEffect(reason=_KEEPS_NOTHING, neutral=lambda value: not value, remedy="send the text in input"),
    "background": NoEffect(reason=_KEEPS_NOTHING, neutral=lambda value: not value, remedy="stream the answer instead"),
    "text": NoEffect(
        reason="its answers are free text without a schema",
        neutral=_plain_text,
        remedy="omit it and describe the form of the answer in words",
    ),
    "truncation": NoEffect(reason="only the last turn is read"),
    "reasoning": _NO_REASONING,
    "max_tool_calls": NoEffect(reason="it calls no tools"),
    "stream_options": NoEffect(reason="streams are not padded, and always end with token counts"),
}
_EDITS = "it generates from text alone and edits no pictures"
IMAGE_TOOL = {
    **IMAGES,
    "model": NoEffect(reason="there is one model"),
    "action": NoEffect(
        reason=_EDITS, neutral=lambda value: value in ("generate", "auto"), remedy="send generate or omit it"
    ),
    "input_image_mask": NoEffect(reason=_EDITS, neutral=lambda value: not value),
}


class UserItem(UserMessage):
    """A message of the user's; `type` is optional."""

    no_effect: ClassVar[Mapping[str, NoEffect]] = dict.fromkeys(
        ("id", "status", "phase"), NoEffect(reason=_KEEPS_NOTHING)
    )

    type: Literal["message"] = "message"
    """Always `message`."""


class OtherItem(BaseModel):
    """Any other item: messages of other roles, generated pictures, tool calls. Only its pictures are read."""

    model_config = ConfigDict(
        extra="ignore",
        frozen=True,
        use_attribute_docstrings=True,
        json_schema_extra={"anyOf": [{"required": ["role"]}, {"required": ["type"]}]},
    )

    type: Annotated[str, Field(max_length=MAX_NAME_CHARACTERS)] = "message"
    """Kind of the item."""
    role: Literal["system", "developer", "assistant"] = "assistant"
    """Role of a message's sender."""
    id: Any = None
    """Id of the item, from the response that it was in."""
    content: Any = None
    """Parts of a message; only pictures are read."""
    result: Any = None
    """Of an `image_generation_call`: the file as base64."""

    @property
    def pictures(self) -> list[tuple[str, str]]:
        """Path in the item and content of each picture."""
        if self.type == "image_generation_call":
            return [("result", self.result)] if isinstance(self.result, str) and self.result else []
        return list(pictures_in(self.content, "content")) if self.type == "message" else []


def _kind_of_item(value: Any) -> str | None:
    if isinstance(value, (UserItem, OtherItem)):
        return "user" if isinstance(value, UserItem) else "other"
    if not isinstance(value, dict):
        return None
    if value.get("type", "message") == "message":
        return None if "role" not in value else "user" if value["role"] == "user" else "other"
    return "other"


Item = Annotated[
    Annotated[UserItem, Tag("user")] | Annotated[OtherItem, Tag("other")],
    Discriminator(
        _kind_of_item,
        custom_error_type="item",
        custom_error_message="must be a message with a role, or another item with a type",
    ),
]
Input = Annotated[
    Annotated[FilledText, Tag("text")]
    | Annotated[list[Item], Field(min_length=1, max_length=MAX_MESSAGES), Tag("list")],
    Discriminator(kind_of_content, custom_error_type="input", custom_error_message="must be text or a list of items"),
]


class ImageTool(OpenBody):
    """The tool that generates pictures."""

    no_effect: ClassVar[Mapping[str, NoEffect]] = IMAGE_TOOL

    type: Literal["image_generation"]
    """Kind of the tool."""
    size: Annotated[str, StringConstraints(pattern=f"^auto$|{SIZE}")] | None = None
    """WIDTHxHEIGHT in pixels; has precedence over the body's `size`."""
    output_format: AnyOutputFormat | None = None
    """File format of the picture; null is `png`, `jpg` is `jpeg`."""
    output_compression: Annotated[int, Field(ge=0, le=100)] | None = None
    """Quality of jpeg and webp; null is 100."""
    partial_images: Annotated[int, Field(ge=0, le=MAX_PREVIEWS)] | None = None
    """Number of previews in a stream."""


class OtherTool(BaseModel):
    """Another tool, which the model does not call."""

    model_config = ConfigDict(extra="ignore", frozen=True, use_attribute_docstrings=True)

    type: Annotated[
        str, Field(max_length=MAX_NAME_CHARACTERS, json_schema_extra={"not": {"const": "image_generation"}})
    ]
    """Kind of the tool."""


def _kind_of_tool(value: Any) -> str | None:
    kind = value.get("type") if isinstance(value, dict) else getattr(value, "type", None)
    return None if not isinstance(kind, str) else "image" if kind == "image_generation" else "other"


Tool = Annotated[
    Annotated[ImageTool, Tag("image")] | Annotated[OtherTool, Tag("other")],
    Discriminator(_kind_of_tool, custom_error_type="tool", custom_error_message="must be an object with a type"),
]


class ResponsesBody(TextBody):
    """A conversation. Its last item, a message of the user's, is generated or answered."""

    model_config = example(model="shapes-64", input="draw a red circle", tools=[{"type": "image_generation"}])

    no_effect: ClassVar[Mapping[str, NoEffect]] = RESPONSES

    input: Input
    """A text, or the items of a conversation; the last must be a message of the user's."""
    tools: Annotated[list[Tool], Field(max_length=MAX_TOOLS)] | None = None
    """With `image_generation`, a text that is no question generates a picture; other tools are not called."""
    tool_choice: Any = None
    """`image_generation`, or `required` with that tool, generates a picture; `none` answers; `auto` chooses."""
    max_output_tokens: NewTokens = None
    """Maximum length of an answer in tokens; null is 128. Reduced to the model's limit, and to what can be
    decoded before the timeout; -1 is that maximum."""

    include: Annotated[list[Annotated[str, Field(max_length=128)]], Field(max_length=32)] | None = None
    """With `message.output_text.logprobs` in the list, an answer has the log probabilities of its tokens."""
    top_logprobs: Annotated[int, Field(ge=0, le=MAX_LOGPROBS)] | None = None
    """Number of likeliest tokens to return at each position of an answer."""

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        last = self.items[-1]
        if not isinstance(last, UserMessage):
            raise PydanticCustomError("last_turn", "the last item must be a message of the user's", {"param": "input"})
        check_text(last, "input")
        return self

    def review(self, warnings: Warnings) -> None:
        """Warns of items and tools that are not read, and of a length that is reduced.

        Raises:
            UnsupportedValueError
        """
        review_messages(self.items, warnings, field="input")
        self._review_items(warnings)
        self._review_tools(warnings)
        if any(name != _LOGPROBS for name in self.include or ()):
            warnings.add("include", f"ignored: only {_LOGPROBS} can be included")
        if (self.max_output_tokens or 0) > MAX_NEW_TOKENS:
            warnings.add("max_output_tokens", f"reduced to {MAX_NEW_TOKENS}, the model's limit")

    def _review_items(self, warnings: Warnings) -> None:
        for index, item in enumerate(self.items):
            if isinstance(item, UserItem) or item.type in ("message", "image_generation_call"):
                continue
            # Text of earlier items is not read, so a reference to it is ignored; one to a picture cannot be.
            if item.type == "item_reference" and str(item.id).startswith(PICTURE_ID):
                raise UnsupportedValueError(f"input.{index}", f"{_KEEPS_NOTHING}; send the item itself")
            warnings.add(f"input.{index}", "ignored: items of this type are not read by this model")

    def _review_tools(self, warnings: Warnings) -> None:
        for index, tool in enumerate(self.tools or ()):
            if isinstance(tool, OtherTool):
                warnings.add(f"tools.{index}", "ignored: image_generation is the only tool")
            elif tool.partial_images and not self.stream:
                warnings.add(f"tools.{index}.partial_images", "ignored: stream is not true")
        drawable = self.image_tool is not None
        if self._chosen not in ("auto", "none") and not (drawable and self._chosen in ("required", "image_generation")):
            raise UnsupportedValueError(
                "tool_choice", "image_generation is the only tool; list it in tools, or send auto or none"
            )

    @property
    def _chosen(self) -> str:
        """`tool_choice` as one word."""
        choice = self.tool_choice
        if isinstance(choice, dict):
            choice = choice.get("mode", "auto") if choice.get("type") == "allowed_tools" else choice.get("type")
        return "auto" if choice is None else choice if isinstance(choice, str) else ""

    @property
    def items(self) -> Sequence[UserItem | OtherItem]:
        """The conversation."""
        return [UserItem(role="user", content=self.input)] if isinstance(self.input, str) else self.input

    @property
    def image_tool(self) -> ImageTool | None:
        """The first `image_generation` tool; None without one."""
        return next((tool for tool in self.tools or () if isinstance(tool, ImageTool)), None)

    @property
    def size_field(self) -> str:
        """Name of the field with the picture's size."""
        for index, tool in enumerate(self.tools or ()):
            if isinstance(tool, ImageTool):
                return "size" if tool.size is None else f"tools.{index}.size"
        return "size"

    @property
    def text(self) -> str:
        """The last turn's text."""
        last = self.items[-1]
        return last.text if isinstance(last, UserItem) else ""

    @property
    def picture(self) -> Picture | None:
        """The picture that a question is about: the conversation's last."""
        return last_picture(self.items, field="input")

    @property
    def own_picture(self) -> Picture | None:
        """The picture of the last turn itself."""
        picture = self.picture
        return picture if picture is not None and picture.message == len(self.items) - 1 else None

    @property
    def wanted_logprobs(self) -> int | None:
        """Number of likeliest tokens to report log probabilities for; None for no log probabilities."""
        wanted = _LOGPROBS in (self.include or ()) or bool(self.top_logprobs)
        return (self.top_logprobs or 0) if wanted else None

    def unrouted(self) -> Unrouted:
        """What the task is chosen by."""
        modalities: tuple[Modality, ...] = ()
        if self._chosen in ("required", "image_generation"):
            modalities = ("image",)
        elif self._chosen == "none":
            modalities = ("text",)
        elif self.image_tool is not None:
            modalities = ("text", "image")
        return Unrouted(
            text=self.text,
            image=self.own_picture is not None,
            earlier=self.picture is not None,
            modalities=modalities,
        )

    def generate_request(self, deadline: float, default: str) -> GenerateRequest:
        """The engine's request for a picture; `default` is the policy if none is named."""
        tool = self.image_tool
        if tool is None:
            return self._generate_request(self.text, deadline, default)
        previews = (tool.partial_images or 0) if self.stream else 0
        return self._generate_request(self.text, deadline, default, previews=previews, size=tool.size)

    def understand_request(self, deadline: float, default: str) -> UnderstandRequest:
        """The engine's request for an answer, without the picture; `default` is the policy if none is named."""
        length = self.max_output_tokens or _DEFAULT_TOKENS
        return self._understand_request(
            self.text, deadline, default, max_new_tokens=length, logprobs=self.wanted_logprobs
        )
