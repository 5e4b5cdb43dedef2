"""Parses request bodies, JSON and multipart forms, into the schemas, within limits on their structure. Limits on bytes
and time are middleware."""

from __future__ import annotations

import asyncio
import codecs
import contextlib
import time
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any, Literal, TypeVar, overload

from pydantic import BaseModel, ValidationError
from pydantic_core import from_json
from python_multipart.multipart import parse_options_header
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from flashu_core import InvalidRequestError
from server.api.schemas.openai_fields import OpenBody, reviewed
from server.api.schemas.warnings import Warnings
from server.errors import InvalidFieldError, InvalidJsonError, MalformedBodyError, UnsupportedMediaTypeError
from server.limits import MAX_FORM_FIELD_BYTES, MAX_FORM_FIELDS, MAX_JSON_MEMBERS, MAX_JSON_VALUES

JSON = "application/json"
FORM = "multipart/form-data"
# Byte order marks, and ASCII in two or four bytes: JSON in UTF-8 begins with none of them.
_OTHER_UNICODE = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, b"\0", b"{\0", b"[\0")
_FORM_SLICE = 16 * 1024  # bytes of a form that are parsed between two checks of the time
_SLOW_SLICE_S = 0.001
_REST = 10  # after a slow slice the loop is free for so many times its duration
# Maximum CPU time for parsing a form, fixed and per byte: thirty times what pictures take.
_FORM_S = 0.1
_FORM_BYTE_S = 0.03 / 2**20

Body = TypeVar("Body", bound=BaseModel)
AnyOpenBody = TypeVar("AnyOpenBody", bound=OpenBody)


def media_type(request: Request, *allowed: str) -> str:
    """The request's media type, one of `allowed`.

    Raises:
        UnsupportedMediaTypeError: another media type, or a charset other than UTF-8.
    """
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    # Other charsets are refused: some of Python's decoders take quadratic time.
    charset = options.get(b"charset", b"utf-8").lower()
    name = kind.decode("latin-1").lower()
    if name not in allowed or charset not in (b"utf-8", b"utf8", b"us-ascii"):
        raise UnsupportedMediaTypeError(allowed)
    return name


async def read_json(request: Request, schema: type[Body]) -> Body:
    """The JSON body as `schema`.

    Raises:
        InvalidJsonError, InvalidFieldError
    """
    data = (await request.body()).removeprefix(codecs.BOM_UTF8)
    if data.startswith(_OTHER_UNICODE):
        raise InvalidJsonError("the body is JSON in UTF-16 or UTF-32; send it in UTF-8")
    if data.count(b",") + data.count(b"[") + data.count(b"{") > MAX_JSON_VALUES:
        raise _too_many_values()
    try:
        # Not the standard library's parser: it accepts NaN and recurses without limit.
        value = from_json(data, allow_inf_nan=False)
    except ValueError:
        raise InvalidJsonError("the body is not valid JSON (UTF-8, no NaN or Infinity, not deeply nested)") from None
    if _members(value) > MAX_JSON_MEMBERS:
        raise _too_many_values()
    value = _plain(value)
    try:
        return schema.model_validate(value)
    except ValidationError as error:
        raise InvalidFieldError(error, value, schema.model_fields) from None


async def read_open_json(request: Request, schema: type[AnyOpenBody]) -> tuple[AnyOpenBody, Warnings]:
    """The JSON body as `schema`, and warnings about fields without effect.

    Raises:
        InvalidJsonError, InvalidFieldError, UnsupportedValueError
    """
    body = await read_json(request, schema)
    return body, reviewed(body)


def _plain(value: Any) -> Any:
    """The same JSON, normalised: members that are null are removed, because typed clients send null for absent fields;
    whole floats become integers, because some languages write all numbers with a decimal point."""
    if isinstance(value, dict):
        return {name: _plain(member) for name, member in value.items() if member is not None}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _too_many_values() -> InvalidJsonError:
    return InvalidJsonError("the JSON holds too many values; send one flat object of the documented fields")


def _members(value: Any) -> int:
    """Number of members of all objects in a JSON value."""
    count, left = 0, [value]
    while left:
        one = left.pop()
        if isinstance(one, dict):
            count += len(one)
            left.extend(one.values())
        elif isinstance(one, list):
            left.extend(one)
    return count


class _FormParser(MultiPartParser):
    """Starlette's parser, which accepts a truncated form; this one notes whether the form ended. Files stay in memory,
    where they are counted: a directory for temporary files may be small, full or missing."""

    spool_max_size = 0
    ended = False

    def on_end(self) -> None:
        self.ended = True


async def _in_slices(stream: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    """Feeds a form's body to its parser. Data that resembles the boundary takes two hundred times as long as a picture:
    the loop is yielded meanwhile, and such a form is refused before its end.

    Raises:
        MalformedBodyError
    """
    size, spent = 0, 0.0
    async for piece in stream:
        for begin in range(0, len(piece), _FORM_SLICE):
            part = piece[begin : begin + _FORM_SLICE]
            began = time.thread_time()
            yield part
            taken = time.thread_time() - began
            size, spent = size + len(part), spent + taken
            if spent > _FORM_S + size * _FORM_BYTE_S:
                raise MalformedBodyError("the multipart form's data resembles its boundary; use a longer boundary")
            if taken > _SLOW_SLICE_S:
                await asyncio.sleep(_REST * taken)


@contextlib.asynccontextmanager
async def _form(request: Request) -> AsyncIterator[FormData]:
    async with contextlib.aclosing(request.stream()) as stream, contextlib.aclosing(_in_slices(stream)) as slices:
        parser = _FormParser(
            request.headers, slices, max_files=1, max_fields=MAX_FORM_FIELDS, max_part_size=MAX_FORM_FIELD_BYTES
        )
        try:
            form = await parser.parse()
        except MultiPartException as error:
            raise HTTPException(400, error.message) from None
    try:
        if not parser.ended:
            raise MalformedBodyError("the multipart form has no closing boundary; it is truncated")
        yield form
    finally:
        await form.close()


@overload
async def read_form(
    request: Request, schema: type[Body], *, file: str, required: Literal[True] = True
) -> tuple[Body, bytes]: ...
@overload
async def read_form(
    request: Request, schema: type[Body], *, file: str, required: Literal[False]
) -> tuple[Body, bytes | None]: ...
async def read_form(
    request: Request, schema: type[Body], *, file: str, required: bool = True
) -> tuple[Body, bytes | None]:
    """The form's fields as `schema`, and the bytes of its one file; None if it is missing and not required.

    Raises:
        InvalidRequestError: a field appears twice, or the file is missing.
        MalformedBodyError, HTTPException: 400, the form itself is malformed.
        InvalidFieldError
    """
    content: bytes | None = None
    fields: dict[str, str] = {}
    try:
        async with _form(request) as form:
            for name, value in form.multi_items():
                if name in fields or (name == file and content is not None):
                    known = name if name == file or name in schema.model_fields else None
                    raise InvalidRequestError("a form field appears twice; send each once", parameter=known)
                if isinstance(value, UploadFile):
                    if name != file:
                        raise InvalidRequestError(f"the file must be in the field {file}", parameter=file)
                    content = await value.read()
                elif name == file:
                    raise InvalidRequestError(f"{file} must be a file in a form (with a filename)", parameter=file)
                else:
                    fields[name] = value
    except (UnicodeError, LookupError):
        raise HTTPException(400, "the multipart form is malformed") from None
    try:
        body = schema.model_validate_strings(fields)
    except ValidationError as error:
        raise InvalidFieldError(error, fields, (*schema.model_fields, file)) from None
    if content is None and required:
        raise InvalidRequestError(f"{file} is missing; send the picture as a file in this field", parameter=file)
    return body, content
