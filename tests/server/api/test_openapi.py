"""The OpenAPI document is complete: summaries, descriptions, examples that work, described fields and errors."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import pytest

from server.api.schemas.examples import PICTURE
from server.app import create_app
from server.settings import Settings

JSON, FORM = "application/json", "multipart/form-data"
DOCUMENT: dict[str, Any] = create_app(Settings.model_construct()).openapi()
OPERATIONS = [(method, path) for path, methods in DOCUMENT["paths"].items() for method in methods]
BODIES = [
    (path, kind, content["schema"])
    for method, path in OPERATIONS
    for kind, content in DOCUMENT["paths"][path][method].get("requestBody", {}).get("content", {}).items()
]


def resolved(schema: dict[str, Any]) -> dict[str, Any]:
    if "$ref" not in schema:
        return schema
    target: dict[str, Any] = DOCUMENT["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return {**target, **schema}


def undescribed(schema: dict[str, Any], path: str, seen: tuple[str, ...] = ()) -> Iterator[str]:
    """Paths of the fields without a description in a schema and all that it refers to."""
    reference = schema.get("$ref", "")
    if reference in seen:
        return
    whole, seen = resolved(schema), (*seen, reference) if reference else seen
    for name, field in whole.get("properties", {}).items():
        if not resolved(field).get("description"):
            yield f"{path}.{name}"
        yield from undescribed(field, f"{path}.{name}", seen)
    for several in ("anyOf", "oneOf", "allOf", "prefixItems"):
        for one in whole.get(several, ()):
            yield from undescribed(one, path, seen)
    if isinstance(whole.get("items"), dict):
        yield from undescribed(whole["items"], f"{path}[]", seen)
    content = whole.get("contentSchema", whole.get("itemSchema"))
    if content:
        yield from undescribed(content, path, seen)


def test_every_field_is_found_that_has_no_description() -> None:
    nested = {"properties": {"a": {"description": "a", "items": {"anyOf": [{"properties": {"b": {}}}]}}}}
    assert list(undescribed(nested, "body")) == ["body.a[].b"]


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_an_operation(method: str, path: str) -> None:
    operation = DOCUMENT["paths"][path][method]
    assert operation["summary"] and operation["description"].endswith(".") and operation["tags"]
    for parameter in operation.get("parameters", ()):
        assert parameter["description"] and parameter["schema"]["examples"]
    for status, response in operation["responses"].items():
        assert status != "422"
        assert response["description"] not in ("", "Bad Request", "Not Found", "Service Unavailable")
        if int(status) >= 400:
            reference = response["content"][JSON]["schema"]["$ref"]
            assert reference == "#/components/schemas/ErrorBody"
        for kind, content in response.get("content", {}).items():
            assert not list(undescribed(content.get("schema") or content["itemSchema"], kind))


def test_bodies_of_all_routes_that_take_one() -> None:
    assert {path for path, _, _ in BODIES} == {
        path for method, path in OPERATIONS if method == "post" and not path.endswith(("/edits", "/variations"))
    }


@pytest.mark.parametrize(("path", "kind", "schema"), BODIES)
def test_a_body_is_described_and_its_example_works(path: str, kind: str, schema: dict[str, Any], real: Any) -> None:
    assert schema["description"]
    assert not list(undescribed(schema, "body"))
    for body in schema["examples"]:
        if kind == JSON:
            answer = real.client.post(path, json=body)
        else:
            files = {"image": ("disc.png", base64.b64decode(PICTURE), "image/png")}
            answer = real.client.post(path, data=body, files=files)
        assert answer.status_code == 200, answer.text
        # The example of a text with a file asks for a picture: the file has no effect there.
        warnings = answer.json().get("warnings") or []
        assert [one["param"] for one in warnings] == (["image"] if (path, kind) == ("/v1/infer", FORM) else [])
