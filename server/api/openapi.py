"""Parts of the OpenAPI document that FastAPI cannot derive, since the routes parse bodies and write responses
themselves: request bodies, error statuses and streams."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from server.api.answers.native import ErrorBody
from server.api.sse import MEDIA_TYPE

ERRORS: Mapping[int | str, dict[str, Any]] = {
    status: {"model": ErrorBody} for status in (400, 401, 403, 408, 413, 415, 429, 500, 503, 504)
}


def answers(events: Mapping[str | None, type[BaseModel] | None], *, files: bool = False) -> dict[int | str, Any]:
    """The 200 of a route that also streams.

    Args:
        events: what a stream is made of, besides `error`: data by the event's name, None where it has none, or where
            the data is no JSON of this server's own.
        files: whether it may answer with a picture file.
    """
    each = [_event(name, data) for name, data in {**events, "error": ErrorBody}.items()]
    # An event with its data as a string, as FastAPI describes its own streams.
    content: dict[str, Any] = {MEDIA_TYPE: {"itemSchema": {"anyOf": each}}}
    if files:
        for kind in ("png", "jpeg", "webp"):
            content[f"image/{kind}"] = {"schema": {"type": "string", "format": "binary"}}
    return {200: {"description": "The answer; a stream of events where the body says `stream`.", "content": content}}


def _event(name: str | None, data: type[BaseModel] | None) -> dict[str, Any]:
    payload: dict[str, Any] = {"type": "string"}
    if data is not None:
        payload |= {"contentMediaType": "application/json", "contentSchema": _whole(data)}
    # Without a name it is a "message", says the standard.
    properties = {"event": {"const": name or "message"}, "data": payload}
    return {"type": "object", "properties": properties, "required": ["event", "data"] if name else ["data"]}


def takes(content: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The body of a route: a schema for each media type."""
    return {"requestBody": {"required": True, "content": {kind: {"schema": one} for kind, one in content.items()}}}


def body_schema(body: type[BaseModel]) -> dict[str, Any]:
    """The JSON schema of a body, in which null stands for what is absent."""
    return _nullable(_whole(body))  # type: ignore[no-any-return]


def form_schema(fields: type[BaseModel], *, file: str, required: bool) -> dict[str, Any]:
    """The schema of a multipart form: fields and one file."""
    schema = _whole(fields)
    about = f"A file, in the formats of `{file}` in JSON."
    schema["properties"][file] = {"type": "string", "format": "binary", "description": about}
    if required:
        schema["required"] = [*schema.get("required", []), file]
    return schema


def _whole(body: type[BaseModel]) -> dict[str, Any]:
    """The JSON schema without references: they would not resolve inside the document."""
    schema = body.model_json_schema()
    definitions = schema.pop("$defs", {})
    return _resolved(schema, definitions)  # type: ignore[no-any-return]


_NULL = {"type": "null"}


def _nullable(part: Any) -> Any:
    """The schema with null allowed for every member of an object that is not required."""
    if isinstance(part, list):
        return [_nullable(item) for item in part]
    if not isinstance(part, dict):
        return part
    schema = {name: _nullable(value) for name, value in part.items()}
    if schema.get("type") == "object":
        required = schema.get("required", [])
        properties = schema.get("properties", {})
        schema["properties"] = {name: one if name in required else _or_null(one) for name, one in properties.items()}
        if isinstance(schema.get("additionalProperties"), dict):
            schema["additionalProperties"] = _or_null(schema["additionalProperties"])
    return schema


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    if not schema.keys() & {"type", "anyOf", "oneOf", "enum", "const"}:  # allows anything
        return schema
    if _NULL in schema.get("anyOf", ()):
        return schema
    about: dict[str, Any] = {name: schema[name] for name in ("title", "description", "default") if name in schema}
    return {**about, "anyOf": [{name: value for name, value in schema.items() if name not in about}, _NULL]}


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
