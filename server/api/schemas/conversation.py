"""Messages of a conversation: the text of the last one, and the pictures of all. The user's messages are validated part
by part; those of other roles have fields of many servers, so only their pictures are read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, Protocol

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, StringConstraints, Tag
from pydantic_core import PydanticCustomError

from server.api.schemas.native import Text
from server.api.schemas.openai_fields import NoEffect, OpenBody
from server.api.schemas.warnings import Warnings
from server.errors import UnsupportedValueError
from server.limits import MAX_PARTS, MAX_TEXT_CHARACTERS

Address = Annotated[str, StringConstraints(min_length=1)]


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture of a conversation.

    Attributes:
        message: index of its message.
        role: role of that message.
        param: its path in the body, as `messages.1.images.0`.
        address: a data URL, or other text.
    """

    message: int
    role: str
    param: str
    address: str


_PARTS = {
    **dict.fromkeys(("text", "input_text", "output_text"), "text"),
    "image_url": "image_url",
    "input_image": "input_image",
}


class TextPart(OpenBody):
    """Text."""

    type: Literal["text", "input_text", "output_text"]
    """Kind of the part."""
    text: Text
    """The text."""


class ImageAddress(OpenBody):
    """Where a picture is."""

    no_effect: ClassVar[Mapping[str, NoEffect]] = {
        "detail": NoEffect(reason="pictures are resized to the model's input size")
    }

    url: Address
    """A data URL or base64, in the formats of `POST /v1/vqa`; an address if the server fetches pictures."""


def _as_object(value: Any) -> Any:
    return {"url": value} if isinstance(value, str) else value


class ImagePart(OpenBody):
    """A picture."""

    type: Literal["image_url"]
    """Kind of the part."""
    image_url: Annotated[ImageAddress, BeforeValidator(_as_object, json_schema_input_type=ImageAddress | Address)]
    """The picture."""


class InputImagePart(OpenBody):
    """A picture, in the form of the Responses API."""

    no_effect: ClassVar[Mapping[str, NoEffect]] = ImageAddress.no_effect

    type: Literal["input_image"]
    """Kind of the part."""
    image_url: Address
    """A data URL or base64, in the formats of `POST /v1/vqa`; an address if the server fetches pictures."""


class OtherPart(OpenBody):
    """A part of another kind, which the model cannot read; refused in the last message."""

    type: Annotated[str, Field(json_schema_extra={"not": {"enum": list(_PARTS)}})]
    """Kind of the part."""


def _kind_of_part(value: Any) -> str | None:
    kind = value.get("type") if isinstance(value, dict) else getattr(value, "type", None)
    return _PARTS.get(kind, "other") if isinstance(kind, str) else None


def kind_of_content(value: Any) -> str | None:
    """`text` or `list`; None for other values."""
    return "text" if isinstance(value, str) else "list" if isinstance(value, list) else None


Part = Annotated[
    Annotated[TextPart, Tag("text")]
    | Annotated[ImagePart, Tag("image_url")]
    | Annotated[InputImagePart, Tag("input_image")]
    | Annotated[OtherPart, Tag("other")],
    Discriminator(
        _kind_of_part,
        custom_error_type="part",
        custom_error_message="must be an object with a type: text or image_url",
    ),
]
Content = Annotated[
    Annotated[Text, Tag("text")] | Annotated[list[Part], Field(max_length=MAX_PARTS), Tag("list")],
    Discriminator(kind_of_content, custom_error_type="content", custom_error_message="must be text or a list of parts"),
]


class UserMessage(OpenBody):
    """A message of the user's."""

    no_effect: ClassVar[Mapping[str, NoEffect]] = {"name": NoEffect(reason="names of users have no effect")}

    role: Literal["user"]
    """Always `user`."""
    content: Content
    """A text, or a list of parts."""

    @property
    def text(self) -> str:
        """Its text parts, joined."""
        if isinstance(self.content, str):
            return self.content
        return "\n".join(part.text for part in self.content if isinstance(part, TextPart))

    @property
    def pictures(self) -> list[tuple[str, str]]:
        """Path in the message and address of each picture."""
        found = []
        for index, part in enumerate(self.content if isinstance(self.content, list) else ()):
            if isinstance(part, ImagePart):
                found.append((f"content.{index}.image_url", part.image_url.url))
            elif isinstance(part, InputImagePart):
                found.append((f"content.{index}.image_url", part.image_url))
        return found

    @property
    def unread(self) -> list[int]:
        """Indices of parts that the model cannot read."""
        parts = self.content if isinstance(self.content, list) else ()
        return [index for index, part in enumerate(parts) if isinstance(part, OtherPart)]


class OtherMessage(BaseModel):
    """A message of another role, with any other fields. Its pictures are read, its text is not."""

    model_config = ConfigDict(extra="ignore", frozen=True, use_attribute_docstrings=True)

    role: Literal["system", "developer", "assistant", "tool", "function"]
    """Role of the sender."""
    content: Any = None
    """Text or parts; only pictures are read."""
    images: Any = None
    """Generated pictures, as this server's responses have them."""

    @property
    def pictures(self) -> list[tuple[str, str]]:
        """Path in the message and address of each picture."""
        return [*pictures_in(self.content, "content"), *pictures_in(self.images, "images")]


Message = Annotated[UserMessage | OtherMessage, Field(discriminator="role")]


def pictures_in(parts: Any, name: str) -> Iterator[tuple[str, str]]:
    """Path and address of each picture in a list of parts of any form."""
    for index, part in enumerate(parts[:MAX_PARTS] if isinstance(parts, list) else ()):
        address = part.get("image_url") if isinstance(part, dict) else None
        if isinstance(address, dict):
            address = address.get("url")
        if isinstance(address, str) and address:
            yield f"{name}.{index}.image_url", address


class Spoken(Protocol):
    """A message of any route."""

    @property
    def role(self) -> str: ...
    @property
    def pictures(self) -> list[tuple[str, str]]: ...


def last_picture(messages: Sequence[Spoken], *, field: str = "messages") -> Picture | None:
    """The last picture of a conversation; `field` is the route's name of the messages."""
    for index in reversed(range(len(messages))):
        if found := messages[index].pictures:
            place, address = found[-1]
            return Picture(index, messages[index].role, f"{field}.{index}.{place}", address)
    return None


def review_messages(messages: Sequence[Spoken], warnings: Warnings, *, field: str = "messages") -> None:
    """Warns of messages and parts that are not read.

    Raises:
        UnsupportedValueError: the last message has a part that the model cannot read, or several pictures.
    """
    last = len(messages) - 1
    for index, message in enumerate(messages):
        if isinstance(message, UserMessage):
            for part in message.unread:
                where = f"{field}.{index}.content.{part}"
                if index == last:
                    raise UnsupportedValueError(f"{where}.type", "it reads parts of type text and image_url only")
                warnings.add(where, "ignored: parts of this type are not read by this model")
        elif message.role != "assistant":
            warnings.add(f"{field}.{index}", f"ignored: {message.role} messages are not read by this model")
    if len(messages[last].pictures) > 1:
        raise UnsupportedValueError(
            f"{field}.{last}.content",
            "it reads one picture at a time; send one",
        )


def check_text(message: UserMessage, field: str) -> None:
    """Refuses a last message without text, or with too much; `field` is the route's name of the messages.

    Raises:
        PydanticCustomError
    """
    if not message.text.strip():
        raise PydanticCustomError(
            "blank", "the last message has no text; say what to generate or to answer", {"param": field}
        )
    if len(message.text) > MAX_TEXT_CHARACTERS:
        raise PydanticCustomError(
            "string_too_long",
            "the text of the last message must have at most {max_length} characters",
            {"param": field, "max_length": MAX_TEXT_CHARACTERS},
        )
