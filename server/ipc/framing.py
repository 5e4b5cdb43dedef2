"""How messages are written: frames of a JSON header and, behind it, the raw bytes of pictures and files. A message's
form follows from the types of its fields, and both sides hold to it: what is not of that form is a `WireError`,
whatever the bytes.

A frame is two lengths (big-endian, 32 bits: of the header, of the pictures), the header in UTF-8, and the pictures one
after another in the order in which the header names their shapes. Nothing here runs code of what it reads, and no
error repeats it. NUL is text as any other; a lone surrogate is none and is refused on both sides.
"""

from __future__ import annotations

import asyncio
import json
import math
import socket
import struct
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np

from flashu_core import LOCAL, FlashUError, InvalidRequestError
from server.ipc.protocol import ERRORS, TAGS

PREFIX = struct.Struct(">II")
MAX_HEADER_BYTES = 16 * 2**20
MAX_PICTURE_BYTES = 2**30
_MAX_SIDE = 2**20
_INTEGERS = 2**63

Bytes = bytes | bytearray | memoryview
Frame = tuple[Bytes, ...]
T = TypeVar("T")


class WireError(Exception):
    """A message that cannot be written, or bytes that are none. It never repeats what was in them."""


class _Pictures:
    """The raw bytes of a frame's pictures and files, taken from the front."""

    def __init__(self, data: Bytes) -> None:
        self.data = data
        self.taken = 0

    def take(self, shape: tuple[int, int, int]) -> np.ndarray[Any, np.dtype[np.uint8]]:
        size = math.prod(shape)
        if size > len(self.data) - self.taken:
            raise WireError(f"a picture of shape {shape} needs {size} bytes; {len(self.data) - self.taken} are left")
        array = np.frombuffer(self.data, np.uint8, size, self.taken).reshape(shape)
        self.taken += size
        return array

    def take_file(self, size: int) -> bytes:
        if size > len(self.data) - self.taken:
            raise WireError(f"a file needs {size} bytes; {len(self.data) - self.taken} are left")
        file = bytes(memoryview(self.data)[self.taken : self.taken + size])
        self.taken += size
        return file


@dataclass(frozen=True, slots=True)
class _Form:
    """How values of one type are written and read; pictures go to, and come from, the frame's second half."""

    write: Callable[[Any, list[memoryview]], Any]
    read: Callable[[Any, _Pictures], Any]


def encode(message: object) -> Frame:
    """The frame of a message, as buffers to be sent in this order; pictures are not copied.

    Raises:
        WireError: it is no message, a value is not of its field's type, or it is too large.
    """
    pictures: list[memoryview] = []
    try:
        written = _tagged((type(message),)).write(message, pictures)
        header = json.dumps(written, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:
        raise WireError("a text holds a lone surrogate, which is no character; leave it out") from None
    size = sum(len(picture) for picture in pictures)
    _check_lengths(len(header), size)
    return (PREFIX.pack(len(header), size) + header, *pictures)


def decode(header: Bytes, pictures: Bytes, kinds: Sequence[type[T]]) -> T:
    """The message of a frame's two halves, one of `kinds`. Its pictures are views of `pictures`.

    Raises:
        WireError
    """
    _check_lengths(len(header), len(pictures))
    try:
        value = json.loads(bytes(header).decode())
    except (ValueError, RecursionError):
        raise WireError("the header is not JSON in UTF-8") from None
    left = _Pictures(pictures)
    message: T = _tagged(tuple(kinds)).read(value, left)
    if left.taken != len(pictures):
        raise WireError(f"{len(pictures) - left.taken} bytes follow the last picture")
    return message


def lengths(prefix: Bytes) -> tuple[int, int]:
    """Bytes of the header and of the pictures that follow a frame's first eight bytes.

    Raises:
        WireError: there are not eight, or they ask for more than any message has.
    """
    if len(prefix) != PREFIX.size:
        raise WireError(f"a frame begins with {PREFIX.size} bytes of lengths; there are {len(prefix)}")
    header, pictures = PREFIX.unpack(prefix)
    _check_lengths(header, pictures)
    return header, pictures


def decode_frame(frame: Bytes, kinds: Sequence[type[T]]) -> T:
    """The message of one whole frame.

    Raises:
        WireError
    """
    header, pictures = lengths(frame[: PREFIX.size])
    body = memoryview(frame)[PREFIX.size :]
    if len(body) != header + pictures:
        raise WireError(f"the frame says it has {header + pictures} bytes; there are {len(body)}")
    return decode(body[:header], body[header:], kinds)


async def receive(stream: asyncio.StreamReader, kinds: Sequence[type[T]]) -> T | None:
    """The next message of a stream, or None where it has ended between two messages.

    Raises:
        WireError: it ended within a message, or what came is none.
    """
    try:
        header, pictures = lengths(await stream.readexactly(PREFIX.size))
        return decode(await stream.readexactly(header), await stream.readexactly(pictures), kinds)
    except asyncio.IncompleteReadError as error:
        if error.expected == PREFIX.size and not error.partial:
            return None
        raise WireError("the stream ended within a message") from None


def receive_blocking(pipe: socket.socket, kinds: Sequence[type[T]]) -> T | None:
    """As `receive`, of a socket; None also where it ended within a message, for then the other side is gone.

    Raises:
        WireError: what came is no message.
    """
    prefix = _read_blocking(pipe, PREFIX.size)
    if prefix is None:
        return None
    header, pictures = (_read_blocking(pipe, length) for length in lengths(prefix))
    return None if header is None or pictures is None else decode(header, pictures, kinds)


def _read_blocking(pipe: socket.socket, length: int) -> bytearray | None:
    """That many bytes, which may be written to, or None where the pipe ends before."""
    data = bytearray(length)
    left = memoryview(data)
    while left:
        try:
            count = pipe.recv_into(left)
        except OSError:
            return None
        if count == 0:
            return None
        left = left[count:]
    return data


def _check_lengths(header: int, pictures: int) -> None:
    if header > MAX_HEADER_BYTES:
        raise WireError(f"a header of {header} bytes is over the limit of {MAX_HEADER_BYTES}; send less text")
    if pictures > MAX_PICTURE_BYTES:
        raise WireError(f"pictures of {pictures} bytes are over the limit of {MAX_PICTURE_BYTES}; send smaller ones")


# Forms, by type


@cache
def _form(hint: Any) -> _Form:
    origin, arguments = get_origin(hint), get_args(hint)
    if hint in _PLAIN:
        return _PLAIN[hint]
    if origin is Literal:
        return _checked(lambda value: type(value) is str and value in arguments, f"one of {len(arguments)} words")
    if origin in (Union, types.UnionType):
        return _union(arguments)
    if origin is tuple:
        return _tuple(arguments)
    if origin is Mapping or origin is dict:
        return _mapping(*arguments)
    if origin is np.ndarray:
        return _Form(_write_picture, _read_picture)
    if is_dataclass(hint):
        return _tagged((hint,))
    raise TypeError(f"{hint} cannot be a field of a message")


def _checked(holds: Callable[[Any], bool], name: str) -> _Form:
    """A value that JSON has, written and read as it is."""

    def same(value: Any, _: object) -> Any:
        if not holds(value):
            raise WireError(f"a {type(value).__name__} stands where {name} belongs")
        return value

    return _Form(same, same)


def _is_text(value: Any) -> bool:
    if not isinstance(value, str):
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and -_INTEGERS <= value < _INTEGERS


def _is_number(value: Any) -> bool:
    return _is_integer(value) or (isinstance(value, float) and math.isfinite(value))


def _write_error(error: Any, _: object) -> Any:
    names = {kind: name for name, kind in ERRORS.items()}
    if not isinstance(error, FlashUError):
        raise WireError(f"a {type(error).__name__} stands where an error of the engine belongs")
    kind = next(kind for kind in type(error).__mro__ if kind in names)
    parameter = error.parameter if isinstance(error, InvalidRequestError) else None
    return {"kind": names[kind], "message": str(error), "parameter": parameter}


def _read_error(value: Any, pictures: _Pictures) -> FlashUError:
    found = _members(value, ("kind", "message", "parameter"))
    kind = ERRORS.get(_PLAIN[str].read(found["kind"], pictures))
    message = _PLAIN[str].read(found["message"], pictures)
    parameter = _form(str | None).read(found["parameter"], pictures)
    if kind is None:
        raise WireError("an error is of no known kind")
    if issubclass(kind, InvalidRequestError):
        return kind(message, parameter=parameter)
    return kind(message)


def _write_file(value: Any, pictures: list[memoryview]) -> Any:
    if not isinstance(value, bytes):
        raise WireError(f"a {type(value).__name__} stands where a file's bytes belong")
    pictures.append(memoryview(value))
    return len(value)


def _read_file(value: Any, pictures: _Pictures) -> Any:
    if not _is_integer(value) or value < 0:
        raise WireError(f"a {type(value).__name__} stands where a file's length belongs")
    return pictures.take_file(value)


_PLAIN: Mapping[Any, _Form] = {
    str: _checked(_is_text, "text (without lone surrogates)"),
    int: _checked(_is_integer, "a whole number of 64 bits"),
    float: _checked(_is_number, "a finite number"),
    bool: _checked(lambda value: isinstance(value, bool), "true or false"),
    bytes: _Form(_write_file, _read_file),
    FlashUError: _Form(_write_error, _read_error),
}


def _union(arguments: tuple[Any, ...]) -> _Form:
    kinds = tuple(kind for kind in arguments if kind is not type(None))
    form = _form(kinds[0]) if len(kinds) == 1 else _tagged(kinds)
    if len(kinds) == len(arguments):
        return form
    return _Form(
        lambda value, pictures: None if value is None else form.write(value, pictures),
        lambda value, pictures: None if value is None else form.read(value, pictures),
    )


def _tuple(arguments: tuple[Any, ...]) -> _Form:
    many = arguments[-1] is Ellipsis
    forms = [_form(argument) for argument in (arguments[:1] if many else arguments)]

    def pairs(value: Any, kind: type[tuple[Any, ...] | list[Any]]) -> Iterable[tuple[_Form, Any]]:
        if not isinstance(value, kind):
            raise WireError(f"a {type(value).__name__} stands where a list belongs")
        if not many and len(value) != len(forms):
            raise WireError(f"a list has {len(value)} values; it must have {len(forms)}")
        return zip(forms * len(value) if many else forms, value, strict=True)

    return _Form(
        lambda value, pictures: [form.write(item, pictures) for form, item in pairs(value, tuple)],
        lambda value, pictures: tuple(form.read(item, pictures) for form, item in pairs(value, list)),
    )


def _mapping(key: Any, item: Any) -> _Form:
    keys, items = _form(key), _form(item)

    def walk(value: Any, each: Callable[[_Form, Any], Any]) -> dict[str, Any]:
        if not isinstance(value, Mapping):
            raise WireError(f"a {type(value).__name__} stands where a mapping belongs")
        return {each(keys, name): each(items, inner) for name, inner in value.items()}

    return _Form(
        lambda value, pictures: walk(value, lambda form, inner: form.write(inner, pictures)),
        lambda value, pictures: walk(value, lambda form, inner: form.read(inner, pictures)),
    )


def _write_picture(value: Any, pictures: list[memoryview]) -> Any:
    if not isinstance(value, np.ndarray) or value.dtype != np.uint8:
        raise WireError(f"a {type(value).__name__} stands where a picture of uint8 belongs")
    shape = _shape(value.shape)
    pictures.append(np.ascontiguousarray(value).reshape(-1).data)
    return list(shape)


def _read_picture(value: Any, pictures: _Pictures) -> Any:
    if not isinstance(value, list):
        raise WireError(f"a {type(value).__name__} stands where a picture's shape belongs")
    return pictures.take(_shape(value))


def _shape(value: Sequence[Any]) -> tuple[int, int, int]:
    if len(value) != 3 or not all(_is_integer(side) and 1 <= side <= _MAX_SIDE for side in value) or value[2] != 3:
        raise WireError(f"a picture's shape must be (height, width, 3), each side from 1 to {_MAX_SIDE}")
    return (value[0], value[1], 3)


@cache
def _tagged(kinds: tuple[type, ...]) -> _Form:
    """An object of one of these classes, distinguished by its tag."""
    tags = {kind: tag for tag, kind in TAGS.items() if kind in kinds}
    by_tag = {tag: kind for kind, tag in tags.items()}

    def write(value: Any, pictures: list[memoryview]) -> Any:
        kind: Any = type(value)
        tag = tags.get(kind)
        if tag is None:
            raise WireError(f"a {kind.__name__} cannot be in this place of a message")
        members = _fields(kind).items()
        return {"tag": tag, **{name: form.write(getattr(value, name), pictures) for name, form in members}}

    def read(value: Any, pictures: _Pictures) -> Any:
        tag = value.get("tag") if isinstance(value, dict) else None
        kind = by_tag.get(tag) if isinstance(tag, str) else None
        if kind is None:
            raise WireError(f"no tag of: {', '.join(by_tag)}")
        members = _fields(kind)
        found = _members(value, ("tag", *members))
        try:
            return kind(**{name: form.read(found[name], pictures) for name, form in members.items()})
        except FlashUError:
            raise WireError(f"a value of {tag} is out of range") from None

    return _Form(write, read)


@cache
def _fields(kind: Any) -> Mapping[str, _Form]:
    hints = get_type_hints(kind)
    # What a type keeps to its process has a default, and the other side reads that.
    return {field.name: _form(hints[field.name]) for field in fields(kind) if LOCAL not in field.metadata}


def _members(value: Any, names: tuple[str, ...]) -> dict[str, Any]:
    if not isinstance(value, dict) or value.keys() != set(names):
        raise WireError(f"an object must have these members and no others: {', '.join(names)}")
    return value
