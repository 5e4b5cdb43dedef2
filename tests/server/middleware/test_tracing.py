"""Spans, by the SDK's own exporter in memory."""

from __future__ import annotations

import base64
import io
import sys
from collections.abc import Callable
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from PIL import Image

from server.app import create_app
from server.middleware.tracing import provider_of_environment
from server.settings import Settings

WORD = "canaryprompt"
TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[ReadableSpan]]:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr("server.app.provider_of_environment", lambda: provider)
    return lambda: list(exporter.get_finished_spans())


def roots(spans: list[ReadableSpan]) -> list[ReadableSpan]:
    return [span for span in spans if span.kind is SpanKind.SERVER]


def test_a_request_and_its_components(toy: Any, serving: Any, spans: Any) -> None:
    with serving(toy()) as live:
        live.wait_for(lambda: live.client.get("/readyz").status_code == 200)
        headers = {"traceparent": f"00-{TRACE}-{PARENT}-01", "tracestate": f"a={WORD}", "baggage": f"a={WORD}"}
        body = {"prompt": WORD, "n": 2}
        answer = live.client.post(f"/v1/generate?{WORD}=1", json=body, headers=headers).json()
        live.wait_for(lambda: len(roots(spans())) == 1)
    (root,) = roots(spans())
    assert (root.name, root.parent.span_id) == ("POST /v1/generate", int(PARENT, 16))
    assert root.context.trace_id == int(TRACE, 16)
    assert root.attributes == {
        "http.request.method": "POST",
        "http.response.status_code": 200,
        "http.route": "/v1/generate",
        "url.scheme": "http",
        "flashu.task": "generate",
        "flashu.policy": "flashu",
        "flashu.evaluations": 8,
    }
    assert root.status.status_code is StatusCode.UNSET
    children = sorted((span for span in spans() if span is not root), key=lambda span: span.start_time)
    assert [span.name for span in children] == ["queue", "backbone", "image_encode"]
    at = root.start_time
    for span in children:
        assert span.parent.span_id == root.context.span_id
        assert span.start_time == at
        assert span.end_time - span.start_time == round(answer["timings_ms"][span.name] * 1_000_000)
        at = span.end_time
    for span in spans():
        assert WORD not in span.to_json()


def test_failures_unknown_routes_and_probes(toy: Any, serving: Any, spans: Any) -> None:
    file = io.BytesIO()
    Image.new("RGB", (20, 10)).save(file, "PNG")
    with serving(toy()) as live:
        live.wait_for(lambda: live.client.get("/readyz").status_code == 200)
        live.client.get("/metrics")
        live.client.post("/v1/generate", json={"prompt": "refuse", "negative_prompt": WORD})
        live.client.request(WORD, f"/{WORD}?{WORD}", headers={"traceparent": WORD})
        live.client.get("/v1/models", headers={"traceparent": f"00-{'0' * 32}-{PARENT}-01"})
        image = base64.b64encode(file.getvalue()).decode()
        live.client.post("/v1/vqa", json={"question": WORD, "image": image})
        live.wait_for(lambda: len(roots(spans())) == 4)
    failed, unknown, models, requested = roots(spans())
    assert (failed.name, failed.status.status_code) == ("POST /v1/generate", StatusCode.ERROR)
    assert (unknown.name, unknown.attributes["http.response.status_code"]) == ("OTHER", 404)
    assert "http.route" not in unknown.attributes
    assert (models.name, models.parent) == ("GET /v1/models", None)
    children = [span.name for span in spans() if span.parent and span.parent.span_id == requested.context.span_id]
    assert children == ["image_decode", "queue", "prefill"]
    assert (requested.attributes["flashu.task"], requested.attributes["flashu.tokens"]) == ("vqa", 4)
    for span in spans():
        assert WORD not in span.to_json()


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def use(**values: str) -> None:
        for name in ("SDK_DISABLED", "TRACES_EXPORTER", "EXPORTER_OTLP_ENDPOINT", "EXPORTER_OTLP_TRACES_ENDPOINT"):
            monkeypatch.delenv(f"OTEL_{name}", raising=False)
        for name, value in values.items():
            monkeypatch.setenv(f"OTEL_{name}", value)

    return use


ENDPOINT = "http://127.0.0.1:1"


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"TRACES_EXPORTER": "none", "EXPORTER_OTLP_ENDPOINT": ENDPOINT},
        {"SDK_DISABLED": "true", "EXPORTER_OTLP_ENDPOINT": ENDPOINT},
        {"TRACES_EXPORTER": "zipkin", "EXPORTER_OTLP_ENDPOINT": ENDPOINT},
        {"EXPORTER_OTLP_PROTOCOL": "grpc", "EXPORTER_OTLP_ENDPOINT": ENDPOINT},
        {"TRACES_EXPORTER": ""},
    ],
)
def test_off_is_off(values: dict[str, str], environment: Any, toy: Any) -> None:
    environment(**values)
    assert provider_of_environment() is None


@pytest.mark.parametrize(
    "values",
    [
        {"TRACES_EXPORTER": "otlp"},
        {"EXPORTER_OTLP_ENDPOINT": ENDPOINT},
        {"EXPORTER_OTLP_TRACES_ENDPOINT": f"{ENDPOINT}/v1/traces"},
    ],
)
def test_on_is_on_with_a_name(values: dict[str, str], environment: Any) -> None:
    environment(**values)
    provider = provider_of_environment()
    assert isinstance(provider, TracerProvider)
    assert provider.resource.attributes["service.name"] == "flashu-server"
    provider.shutdown()
    environment(**values, SERVICE_NAME="mine")
    named = provider_of_environment()
    assert isinstance(named, TracerProvider)
    assert named.resource.attributes["service.name"] == "mine"
    named.shutdown()


def test_without_the_sdk_there_is_a_warning(
    environment: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    environment(EXPORTER_OTLP_ENDPOINT=ENDPOINT)
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    assert provider_of_environment() is None
    assert "flashu-server[otel]" in caplog.text


def test_the_frameworks_own_telemetry_is_off(environment: Any) -> None:
    environment()
    app = create_app(Settings())
    assert not app._native_telemetry.enabled()
    assert "Tracing" not in [middleware.cls.__name__ for middleware in app.user_middleware]  # type: ignore[attr-defined]
