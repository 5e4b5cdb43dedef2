"""The HTTP API as a page, from the server's OpenAPI document."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from server.app import create_app
from server.settings import Settings

Json = Mapping[str, Any]

_HEAD = """# HTTP API

Made by `python -m docs.reference` from the OpenAPI document, which a running server has at `/openapi.json`. A response
with a status of 400 or more is an error as OpenAI's API has it:
`{"error": {"message": ..., "type": ..., "param": ..., "code": ...}}`.
"""
_GROUPS = {
    "/v1/generate": "Native routes",
    "/v1/vqa": "Native routes",
    "/v1/infer": "Native routes",
    "/v1/": "OpenAI's routes",
    "/": "Probes and metrics",
}


def text() -> str:
    """The page: a section for each route, with the fields of its body and of its result."""
    document = create_app(Settings.model_construct()).openapi()
    sections: dict[str, list[str]] = {}
    for path, methods in document["paths"].items():
        group = next(title for prefix, title in _GROUPS.items() if path.startswith(prefix))
        for method, route in methods.items():
            sections.setdefault(group, []).append(_route(document, f"{method.upper()} {path}", route))
    return _HEAD + "".join(f"\n## {title}\n{''.join(routes)}" for title, routes in sections.items())


def _route(document: Json, name: str, route: Json) -> str:
    parts = [f"\n### `{name}`\n", f"\n{_line(route.get('description') or route.get('summary', ''))}\n"]
    content: Json = route.get("requestBody", {}).get("content", {})
    if content:
        kinds = " or ".join(f"`{kind}`" for kind in content)
        body = _resolved(document, next(iter(content.values()))["schema"])
        parts.append(f"\nRequest body, {kinds}:\n\n{_table(document, body)}")
    good = route["responses"].get("200", {}).get("content", {})
    for kind, answer in good.items():
        schema = _resolved(document, answer.get("schema", {}))
        if schema.get("properties"):
            parts.append(f"\nResponse, `{kind}`:\n\n{_table(document, schema)}")
        else:
            parts.append(f"\nResponse: `{kind}`.\n")
    statuses = sorted(status for status in route["responses"] if status != "200")
    if statuses:
        parts.append(f"\nErrors: {', '.join(statuses)}.\n")
    return "".join(parts)


def _table(document: Json, schema: Json) -> str:
    required = schema.get("required", ())
    rows = ["| field | type | default | meaning |\n| --- | --- | --- | --- |\n"]
    for name, field in schema.get("properties", {}).items():
        default = "required" if name in required else f"`{_value(field['default'])}`" if "default" in field else ""
        rows.append(f"| `{name}` | {_type(document, field)} | {default} | {_line(field.get('description', ''))} |\n")
    return "".join(rows)


def _type(document: Json, field: Json) -> str:
    return " or ".join(dict.fromkeys(_types(document, field))).replace("|", "\\|")


def _types(document: Json, field: Json) -> Iterator[str]:
    if "$ref" in field:
        target = _resolved(document, field)
        # A reference to an enumeration is its values; to an object, its name says more than "object".
        yield from _types(document, target) if "enum" in target else (field["$ref"].rpartition("/")[2],)
        return
    for several in ("anyOf", "oneOf", "allOf"):
        for one in field.get(several, ()):
            yield from (kind for kind in _types(document, one) if kind != "null")
        if several in field:
            return
    if "enum" in field or "const" in field:
        yield ", ".join(f"`{_value(value)}`" for value in field.get("enum", [field.get("const")]))
    elif field.get("type") == "array":
        yield f"array of {_type(document, field.get('items', {})) or 'anything'}"
    elif "type" in field:
        yield field["type"] + _limits(field)


def _limits(field: Json) -> str:
    if "minimum" in field and "maximum" in field:
        return f", {field['minimum']:g} to {field['maximum']:g}"
    if "exclusiveMinimum" in field and "maximum" in field:
        return f", above {field['exclusiveMinimum']:g}, to {field['maximum']:g}"
    if "minimum" in field:
        return f", from {field['minimum']:g}"
    return f", at most {field['maxLength']:,} characters" if "maxLength" in field else ""


def _resolved(document: Json, schema: Json) -> Json:
    while "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    alternatives = [_resolved(document, one) for key in ("anyOf", "oneOf") for one in schema.get(key, ())]
    objects = [one for one in alternatives if one.get("properties")]
    return objects[0] if objects and not schema.get("properties") else schema


def _value(value: Any) -> str:
    return value if isinstance(value, str) and value else json.dumps(value)


def _line(words: str) -> str:
    return " ".join(words.split()).replace("|", "\\|")
