"""A chat's messages: what the last turn says, and the pictures of all of them, whoever sent them. The user's are read
part by part; what others said comes back as clients got or made it, so only its pictures are looked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, Protocol

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, StringConstraints, Tag

from server.api.schemas.native import Text
from server.api.schemas.openai_fields import NoEffect, OpenBody
from server.api.schemas.warnings import Warnings
from server.errors import UnsupportedValueError
from server.limits import MAX_PARTS

Address = Annotated[str, StringConstraints(min_length=1)]


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture of a conversation.

    Attributes:
        message: index of its message.
        role: whose message that is.
        param: where it is in the body, as `messages.1.images.0`.
        address: a data URL, or whatever else stands there.
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
    type: Literal["text", "input_text", "output_text"]
    text: Text


class ImageAddress(OpenBody):
    no_effect: ClassVar[Mapping[str, NoEffect]] = {
        "detail": NoEffect(reason="pictures are read at the model's own size")
    }

    url: Address
    """A data URL, or base64 alone, in the formats of /v1/vqa; an address where the server fetches them."""


def _as_object(value: Any) -> Any:
    return {"url": value} if isinstance(value, str) else value


class ImagePart(OpenBody):
    type: Literal["image_url"]
    image_url: Annotated[ImageAddress, BeforeValidator(_as_object, json_schema_input_type=ImageAddress | Address)]


class InputImagePart(OpenBody):
    """A picture as the Responses API has it."""

    no_effect: ClassVar[Mapping[str, NoEffect]] = ImageAddress.no_effect

    type: Literal["input_image"]
    image_url: Address


class OtherPart(OpenBody):
    """A part of a kind that the model cannot read."""

    type: Annotated[str, Field(json_schema_extra={"not": {"enum": list(_PARTS)}})]


def _kind_of_part(value: Any) -> str | None:
    kind = value.get("type") if isinstance(value, dict) else getattr(value, "type", None)
    return _PARTS.get(kind, "other") if isinstance(kind, str) else None


def kind_of_content(value: Any) -> str | None:
    """Whether a value is text or a list; None where it is neither."""
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
    no_effect: ClassVar[Mapping[str, NoEffect]] = {"name": NoEffect(reason="whose message it is makes no difference")}

    role: Literal["user"]
    content: Content

    @property
    def text(self) -> str:
        """All its text."""
        if isinstance(self.content, str):
            return self.content
        return "\n".join(part.text for part in self.content if isinstance(part, TextPart))

    @property
    def pictures(self) -> list[tuple[str, str]]:
        """Where each of its pictures is in it, and its address."""
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
    """What was said by others; clients send it back as they got it, with fields of their own. Its pictures are looked
    at, its text is not read."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    role: Literal["system", "developer", "assistant", "tool", "function"]
    content: Any = None
    images: Any = None

    @property
    def pictures(self) -> list[tuple[str, str]]:
        """Where each of its pictures is in it, and its address."""
        return [*pictures_in(self.content, "content"), *pictures_in(self.images, "images")]


Message = Annotated[UserMessage | OtherMessage, Field(discriminator="role")]


def pictures_in(parts: Any, name: str) -> Iterator[tuple[str, str]]:
    """Where each picture is in parts as clients made them, and its address."""
    for index, part in enumerate(parts[:MAX_PARTS] if isinstance(parts, list) else ()):
        address = part.get("image_url") if isinstance(part, dict) else None
        if isinstance(address, dict):
            address = address.get("url")
        if isinstance(address, str) and address:
            yield f"{name}.{index}.image_url", address


class Spoken(Protocol):
    """A message, whatever a route makes of it."""

    @property
    def role(self) -> str: ...
    @property
    def pictures(self) -> list[tuple[str, str]]: ...


def last_picture(messages: Sequence[Spoken], *, field: str = "messages") -> Picture | None:
    """The last picture of a conversation; `field` is what the route calls it."""
    for index in reversed(range(len(messages))):
        if found := messages[index].pictures:
            place, address = found[-1]
            return Picture(index, messages[index].role, f"{field}.{index}.{place}", address)
    return None


def review_messages(messages: Sequence[Spoken], warnings: Warnings, *, field: str = "messages") -> None:
    """Warns of messages and parts that are not read.

    Raises:
        UnsupportedValueError: the last message holds what the model cannot read, or several pictures.
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
            "it looks at one picture at a time, and several are not supported yet; send one",
        )
