"""Parts of the OpenAPI document that FastAPI cannot derive, since the routes parse bodies and write responses
themselves: request bodies, error statuses and streams."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode

from server.api.answers.native import ErrorBody
from server.api.sse import MEDIA_TYPE


def error(description: str) -> dict[str, Any]:
    """A response with the common error body."""
    return {"model": ErrorBody, "description": description}


UNKNOWN_MODEL = error("No model of this name.")
ERRORS: Mapping[int | str, dict[str, Any]] = {
    400: error("The body or a field is invalid, or the model cannot do what is requested; `param` names the field."),
    401: error("The API key is missing or unknown."),
    403: error("The host, origin or API key is not allowed to do this."),
    408: error("The body did not arrive in time."),
    413: error("The body is too large."),
    415: error("The media type or content encoding of the body is not supported."),
    429: error("The API key has used its quota, or the queue is full; retry after `Retry-After` seconds."),
    500: error("An internal error; the log has the details under the request's id."),
    503: error("The model is loading, restarting or stopping; retry after `Retry-After` seconds."),
    504: error("The request did not complete within its timeout."),
}


class DocumentedApi(FastAPI):
    """FastAPI whose document lists only the statuses that the routes have: FastAPI adds its own 422 to every route with
    a path parameter, but the routes here answer invalid values with 400."""

    def openapi(self) -> dict[str, Any]:
        """The OpenAPI document, made once."""
        if self.openapi_schema is None:
            document = super().openapi()
            for operation in (one for path in document["paths"].values() for one in path.values()):
                operation["responses"].pop("422", None)
            for unused in ("HTTPValidationError", "ValidationError"):
                document["components"]["schemas"].pop(unused, None)
            for name, definition in list(_definitions(document["paths"])):
                document["components"]["schemas"][name] = definition
        return super().openapi()


def _definitions(part: Any) -> Iterator[tuple[str, Any]]:
    """Takes the definitions out of all schemas in a part of the document."""
    for one in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
        yield from _definitions(one)
    if isinstance(part, dict):
        yield from part.pop("$defs", {}).items()


def answers(events: Mapping[str | None, type[BaseModel] | None], *, files: bool = False) -> dict[int | str, Any]:
    """The 200 of a route that also streams.

    Args:
        events: the stream's events besides `error`: models of their data by name. A name may be None for events
            without one, a model for data in OpenAI's form.
        files: whether the route can also answer with a picture file.
    """
    each = [_event(name, data) for name, data in {**events, "error": ErrorBody}.items()]
    # An event whose data is a string with JSON, as FastAPI describes its own streams.
    content: dict[str, Any] = {MEDIA_TYPE: {"itemSchema": {"anyOf": each}}}
    if files:
        for kind in ("png", "jpeg", "webp"):
            content[f"image/{kind}"] = {"schema": {"type": "string", "format": "binary"}}
    return {200: {"description": "The result; a stream of events if `stream` is true.", "content": content}}


def _event(name: str | None, data: type[BaseModel] | None) -> dict[str, Any]:
    payload: dict[str, Any] = {"type": "string", "description": "JSON, or `[DONE]` at the end of OpenAI's streams."}
    if data is not None:
        payload |= {"contentMediaType": "application/json", "contentSchema": _whole(data, "serialization")}
    # The standard calls events without a name "message".
    properties = {"event": {"const": name or "message", "description": "Name of the event."}, "data": payload}
    return {"type": "object", "properties": properties, "required": ["event", "data"] if name else ["data"]}


def takes(content: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The request body of a route: a schema for each media type."""
    return {"requestBody": {"required": True, "content": {kind: {"schema": one} for kind, one in content.items()}}}


def body_schema(body: type[BaseModel]) -> dict[str, Any]:
    """The JSON schema of a body, in which optional fields may be null."""
    return _nullable(_whole(body))  # type: ignore[no-any-return]


def form_schema(fields: type[BaseModel], *, file: str, required: bool) -> dict[str, Any]:
    """The schema of a multipart form: fields and one file."""
    schema = _whole(fields)
    about = f"A picture file, in the formats of `{file}` in JSON."
    schema["properties"][file] = {"type": "string", "format": "binary", "description": about}
    if required:
        schema["required"] = [*schema.get("required", []), file]
    return schema


def _whole(body: type[BaseModel], mode: JsonSchemaMode = "validation") -> dict[str, Any]:
    """The JSON schema; its definitions are moved to the document's components by `DocumentedApi`."""
    return body.model_json_schema(ref_template="#/components/schemas/{model}", mode=mode)


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
    if not schema.keys() & {"type", "anyOf", "oneOf", "enum", "const", "$ref"}:  # allows anything
        return schema
    if _NULL in schema.get("anyOf", ()):
        return schema
    about: dict[str, Any] = {name: schema[name] for name in ("title", "description", "default") if name in schema}
    return {**about, "anyOf": [{name: value for name, value in schema.items() if name not in about}, _NULL]}
