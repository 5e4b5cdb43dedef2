"""Cases that schemathesis makes of the server's own OpenAPI document, good and bad, sent one after another over a real
socket: no 5xx, no status, media type or body that the document does not have, and bad values refused."""

from __future__ import annotations

import base64
import io
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
import requests
import schemathesis
import torch
from hypothesis import HealthCheck, Phase, Verbosity, given, settings
from hypothesis import strategies as st
from PIL import Image
from schemathesis import Case, GenerationMode, Response
from schemathesis.checks import CheckContext, not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
)
from schemathesis.transport.serialization import Binary

JSON = "application/json"
FORM = "multipart/form-data"
OPEN = ["/v1/images/generations", "/v1/chat/completions", "/v1/completions", "/v1/responses"]
ROUTES = ["/v1/generate", "/v1/vqa", "/v1/infer", *OPEN]
GETS = [
    "/v1/models",
    "/v1/images/files/{token}",
    "/v1/models/{name}",
    "/livez",
    "/readyz",
    "/health",
    "/metrics",
    "/version",
]
CHECKS = [status_code_conformance, content_type_conformance, response_schema_conformance]
GENERATING = ["/v1/generate", "/v1/infer", "/v1/images/generations", "/v1/chat/completions", "/v1/responses"]
MAXIMA = {"num_inference_steps": 3, "n": 2, "max_new_tokens": 8, "max_tokens": 8, "max_completion_tokens": 8}
MAXIMA |= {"max_output_tokens": 8, "seed": 2**63 - 1, "priority": 100, "output_compression": 100, "partial_images": 3}
MANY, FEW = 100, 10  # cases per route, mode and way; 3000 in all, and 100 on the real model


def picture() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (20, 10), (10, 20, 30)).save(file, "PNG")
    return file.getvalue()


PNG = picture()
ENCODED = base64.b64encode(PNG).decode()


@pytest.fixture(autouse=True)
def _smallest_numbers() -> Iterator[None]:
    """Other tests are faster without denormals; here they are among the numbers that are sent."""
    torch.set_flush_denormal(False)
    yield
    torch.set_flush_denormal(True)


@pytest.fixture(scope="module")
def session() -> Iterator[requests.Session]:
    with requests.Session() as session:
        yield session


@pytest.fixture(scope="module")
def document(shared: Any) -> Any:
    return schemathesis.openapi.from_url(f"http://127.0.0.1:{shared.port}/openapi.json")


@pytest.fixture(scope="module")
def documents(shared: Any, session: requests.Session) -> dict[str, Any]:
    """By media type, the document of bodies of that type alone: cases cannot be asked for by it."""
    url = f"http://127.0.0.1:{shared.port}"
    found = {}
    for media_type in (JSON, FORM):
        whole = session.get(f"{url}/openapi.json").json()
        for route in ROUTES:
            content = whole["paths"][route]["post"]["requestBody"]["content"]
            for other in content.keys() - {media_type}:
                del content[other]
        if media_type == FORM:
            # An optional file among forbidden fields is more than schemathesis 4.32 can make.
            del whole["paths"]["/v1/infer"]["post"]["requestBody"]["content"][FORM]["schema"]["properties"]["image"]
        found[media_type] = schemathesis.openapi.from_dict(whole)
        found[media_type].config.update(base_url=url)
    return found


def sent(count: int, strategy: st.SearchStrategy[Any], one: Callable[[Any], None]) -> None:
    """Runs `one` with `count` examples, the same ones each time."""

    @settings(
        max_examples=count,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
        verbosity=Verbosity.quiet,
    )
    @given(strategy)
    def run(example: Any) -> None:
        one(example)

    run()


def no_server_error(context: CheckContext, response: Response, case: Case) -> bool | None:
    """No 5xx but the end of a time that the client itself set."""
    if response.status_code == 504 and _seconds(case) < 1:
        return None
    return not_a_server_error(context, response, case)


def _seconds(case: Case) -> float:
    seconds = case.body.get("timeout_s") if isinstance(case.body, dict) else None
    return float(seconds) if isinstance(seconds, (int, float, str)) else 3600.0


def refused(context: CheckContext, response: Response, case: Case) -> bool | None:
    """Values that the document forbids are; its own statuses for that, not schemathesis's wider ones."""
    if response.status_code in (400, 404, 413, 415):
        return None
    return negative_data_rejection(context, response, case)


def usable(route: str, body: Any, model: str, stream: bool) -> Any:
    """A body with what no schema can say: a size and a policy there are, a picture, the model's name, little work,
    whole numbers as such, and only fields that go together."""
    if not isinstance(body, dict):
        return body
    made = {name: _usable(name, value, model) for name, value in body.items() if value is not None}
    made["stream"] = stream
    unfit = {"response_format"} if stream else {"stream_options", "partial_images"}
    if "max_completion_tokens" in made:
        unfit.add("max_tokens")
    if route == "/v1/infer":
        unfit.add("prompt")
        made.setdefault("question", "draw a cat")
    if route in GENERATING:
        made.setdefault("num_inference_steps", 3)
    for name in unfit:
        made.pop(name, None)
    if made.get("partial_images") or made.get("response_format") == "binary":
        made["n"] = 1
    return made


def _usable(name: str, value: Any, model: str) -> Any:
    match name, value:
        case ("size", str()):
            return "64x64"
        case ("acceleration", str()):
            return "exact"
        case ("acceleration", dict()):
            return {"policy": "flashu"}
        case ("prompt" | "question" | "input", str()):
            return value if value.strip() else "a cat"
        case ("image", Binary()):
            return PNG
        case ("image", str()):
            return ENCODED
        case ("model", str()):
            return model
        case ("messages", [*earlier, _]):
            return [*earlier, {"role": "user", "content": "draw a cat"}]
        case ("input", [*_]):
            return [{"role": "assistant", "content": "a cat"}, {"role": "user", "content": "draw a cat"}]
        case ("prompt", [*texts]):
            return [text if isinstance(text, str) and text.strip() else "a cat" for text in texts]
        case ("tools", [*tools]):
            return [{"type": "image_generation"} for _ in tools]
        case ("tool_choice", _):
            return "auto"
        case (length, -1) if length.startswith("max_"):  # the model's maximum
            return MAXIMA[length]
        case (whole, float() | int()) if whole in MAXIMA:
            return min(int(value), MAXIMA[whole])
        case ("top_p", float()):
            return max(value, 0.1)
        case ("timeout_s", float()):
            return max(value, 60.0)
    return value


def fuzz(
    operation: Any,
    session: requests.Session,
    mode: GenerationMode,
    count: int,
    *,
    model: str | None = None,
    url: str | None = None,
    checks: Sequence[Any] = (),
) -> Any:
    """Counts of the statuses of `count` cases, each checked; streams are 0.

    Args:
        model: its name, to make bodies usable for it.
    """
    statuses: Counter[int] = Counter()

    def one(example: tuple[Case, bool]) -> None:
        case, stream = example
        if model is not None:
            case.body = usable(operation.path, case.body, model, stream)
        response = case.call(session=session, base_url=url)
        case.validate_response(response, checks=[no_server_error, *CHECKS, *checks])
        if response.headers.get("content-type", [""])[0].startswith("text/event-stream"):
            assert response.text.endswith("\n\n")
            statuses[0] += 1
        statuses[response.status_code] += 1

    sent(count, st.tuples(operation.as_strategy(generation_mode=mode), st.booleans()), one)
    return statuses


@pytest.mark.parametrize("route", ROUTES)
def test_as_the_document_allows(route: str, document: Any, session: requests.Session) -> None:
    assert fuzz(document[route]["POST"], session, GenerationMode.POSITIVE, MANY).total() >= MANY


@pytest.mark.parametrize("route", ROUTES)
def test_as_the_document_allows_and_the_model_can_do(route: str, document: Any, session: requests.Session) -> None:
    statuses = fuzz(document[route]["POST"], session, GenerationMode.POSITIVE, MANY, model="toy")
    assert statuses[200] > MANY / 4
    assert statuses[0] > 0, "none was a stream"


@pytest.mark.parametrize(
    ("route", "media_type"), [*((route, JSON) for route in ROUTES), ("/v1/vqa", FORM), ("/v1/infer", FORM)]
)
def test_as_the_document_forbids(
    route: str, media_type: str, documents: dict[str, Any], session: requests.Session
) -> None:
    operation = documents[media_type][route]["POST"]
    assert fuzz(operation, session, GenerationMode.NEGATIVE, MANY, checks=[refused])[400] > MANY / 2


@pytest.mark.parametrize("route", GETS)
def test_reading(route: str, document: Any, session: requests.Session) -> None:
    assert fuzz(document[route]["GET"], session, GenerationMode.POSITIVE, FEW)


VALUES = st.booleans() | st.integers() | st.text() | st.lists(st.integers())


@pytest.mark.parametrize("route", [route for route in ROUTES if route not in OPEN])
def test_one_unknown_field_is_refused(route: str, documents: dict[str, Any], session: requests.Session) -> None:
    codes: Counter[str] = Counter()

    def one(example: tuple[Case, str, Any]) -> None:
        case, name, value = example
        case.body = {**usable(route, case.body, "toy", False), f"x{name}": value}
        response = case.call(session=session)
        assert response.status_code == 400
        codes[response.json()["error"]["code"]] += 1

    bodies = documents[JSON][route]["POST"].as_strategy()
    sent(MANY, st.tuples(bodies, st.text(max_size=30), VALUES), one)
    # A few have another fault besides, or a number too long for any JSON of ours.
    assert codes["unknown_field"] > MANY / 2


@pytest.mark.parametrize("route", OPEN)
def test_unknown_fields_are_ignored_and_named(route: str, documents: dict[str, Any], session: requests.Session) -> None:
    named = 0

    def one(example: tuple[Case, dict[str, Any]]) -> None:
        nonlocal named
        case, fields = example
        known = {name: value for name, value in case.body.items() if name in properties}
        unknown = {f"x{name}": value for name, value in fields.items()}
        case.body = {**usable(route, known, "toy", False), **unknown}
        response = case.call(session=session)
        header = response.headers.get("x-flashu-warnings", [""])[0]
        assert header.isascii() and header.isprintable() and len(header) < 2000
        if response.status_code != 200:
            assert response.json()["error"]["code"] not in ("unknown_field", "internal_error")
            return
        warnings = response.json().get("warnings", [])
        assert [entry["param"] for entry in warnings if entry["param"]] == list(filter(None, header.split(", ")))
        assert len(warnings) <= 17
        assert bool(warnings) >= any(value is not None for value in unknown.values())
        named += bool(warnings)

    body = documents[JSON][route]["POST"].body[0].definition["schema"]
    properties = set(body["properties"])
    bodies = documents[JSON][route]["POST"].as_strategy()
    sent(MANY, st.tuples(bodies, st.dictionaries(st.text(max_size=30), st.none() | VALUES, max_size=30)), one)
    assert named > MANY / 10


@pytest.mark.parametrize("route", ROUTES)
def test_on_the_real_model(route: str, documents: dict[str, Any], real: Any, session: requests.Session) -> None:
    url, name = f"http://127.0.0.1:{real.port}", real.worker.info().name
    pid, operation = real.worker.pid, documents[JSON][route]["POST"]
    for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
        assert fuzz(operation, session, mode, FEW, model=name, url=url)
    assert real.worker.pid == pid
