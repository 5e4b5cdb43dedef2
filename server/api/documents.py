"""What the routes tell the OpenAPI document, for they read bodies and write answers themselves: the bodies they take,
the statuses they answer with, and their streams."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from server.answers import ErrorBody
from server.api.event_stream import MEDIA_TYPE

ERRORS: Mapping[int | str, dict[str, Any]] = {
    status: {"model": ErrorBody} for status in (400, 408, 413, 415, 500, 503, 504)
}


def answers(*, stream: str, files: bool = False) -> dict[int | str, dict[str, Any]]:
    """The 200 of a route that also streams.

    Args:
        stream: what its events are.
        files: whether it may answer with a picture file.
    """
    content: dict[str, Any] = {MEDIA_TYPE: {"schema": {"type": "string", "description": stream}}}
    if files:
        for kind in ("png", "jpeg", "webp"):
            content[f"image/{kind}"] = {"schema": {"type": "string", "format": "binary"}}
    return {200: {"description": "The answer; a stream of events where the body says `stream`.", "content": content}}


def takes(content: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The body of a route: a schema for each media type."""
    return {"requestBody": {"required": True, "content": {kind: {"schema": one} for kind, one in content.items()}}}


def body_schema(body: type[BaseModel]) -> dict[str, Any]:
    """The JSON schema of a body, whole: its references would not resolve inside the document."""
    schema = body.model_json_schema()
    definitions = schema.pop("$defs", {})
    return _resolved(schema, definitions)  # type: ignore[no-any-return]


def form_schema(fields: type[BaseModel], *, file: str, required: bool) -> dict[str, Any]:
    """The schema of a multipart form: fields and one file."""
    schema = body_schema(fields)
    schema["properties"][file] = {"type": "string", "format": "binary"}
    if required:
        schema["required"] = [*schema.get("required", []), file]
    return schema


def _resolved(part: Any, definitions: Mapping[str, Any]) -> Any:
    if isinstance(part, dict):
        reference = part.get("$ref")
        if isinstance(reference, str):
            return _resolved(definitions[reference.removeprefix("#/$defs/")], definitions)
        # A discriminator's mapping points to definitions too; the alternatives themselves say as much.
        return {name: _resolved(value, definitions) for name, value in part.items() if name != "discriminator"}
    if isinstance(part, list):
        return [_resolved(value, definitions) for value in part]
    return part
