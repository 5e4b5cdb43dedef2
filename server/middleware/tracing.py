"""OpenTelemetry traces, where the standard `OTEL_*` variables name an exporter and the SDK is installed: a span per
request, and below it one per component, made afterwards from what the engine measured. It knows names and numbers;
nothing that a client wrote becomes an attribute."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Iterator, Mapping

from opentelemetry.context import Context
from opentelemetry.trace import (
    SpanKind,
    Status,
    StatusCode,
    Tracer,
    TracerProvider,
    format_trace_id,
    set_span_in_context,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server import __version__
from server.metrics import COMPONENTS
from server.middleware.request_log import method_of, route_of
from server.request_record import record_of

_log = logging.getLogger("flashu.tracing")
_MILLION = 1_000_000


class Tracing:
    """Makes a server span of every request but the probes, as a child of the `traceparent` it brings. When the app has
    shut down, so has the provider.

    Args:
        provider: of the SDK; it is this object's from now on.
        quiet: paths that get no span.
    """

    def __init__(self, app: ASGIApp, *, provider: TracerProvider, quiet: frozenset[str] = frozenset()) -> None:
        self._app = app
        self._provider = provider
        self._quiet = quiet
        self._tracer = provider.get_tracer("flashu-server", __version__)
        self._propagator = TraceContextTextMapPropagator()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            try:
                await self._app(scope, receive, send)
            finally:
                await asyncio.to_thread(self._shut_down)
            return
        if scope["type"] != "http" or scope["path"] in self._quiet:
            await self._app(scope, receive, send)
            return
        method = method_of(scope)
        began = time.time_ns()
        attributes = {"http.request.method": method, "url.scheme": scope.get("scheme", "http")}
        span = self._tracer.start_span(
            method, self._parent(scope), kind=SpanKind.SERVER, attributes=attributes, start_time=began
        )
        record = record_of(scope)
        record.trace = format_trace_id(span.get_span_context().trace_id)
        status: int | None = None

        async def send_noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, send_noted)
        finally:
            route = route_of(scope)
            if route is not None:
                span.update_name(f"{method} {route}")
                span.set_attribute("http.route", route)
            if status is not None:
                span.set_attribute("http.response.status_code", status)
            if status is None or status >= 500:
                span.set_status(Status(StatusCode.ERROR))
            for name, value in (("flashu.task", record.task), ("flashu.policy", record.policy)):
                if value is not None:
                    span.set_attribute(name, value)
            for name, count in (("flashu.evaluations", record.steps), ("flashu.tokens", record.tokens)):
                if count is not None:
                    span.set_attribute(name, count)
            _add_components(self._tracer, set_span_in_context(span), record.task, record.timings_ms, began)
            span.end()

    def _parent(self, scope: Scope) -> Context:
        # Only the ids: tracestate and baggage are text of the client's, which the exporter would pass on.
        given = [value for name, value in scope["headers"] if name == b"traceparent"]
        carrier = {"traceparent": given[0].decode("latin-1")} if len(given) == 1 else {}
        return self._propagator.extract(carrier, Context())

    def _shut_down(self) -> None:
        shutdown = getattr(self._provider, "shutdown", None)
        if shutdown is not None:
            shutdown()


def _add_components(
    tracer: Tracer, parent: Context, task: str | None, timings_ms: Mapping[str, float], began: int
) -> None:
    """Children in the order things happened, each as long as it took. A component of many denoising steps is one
    span of their sum; where time was spent on nothing that is measured, they end before their parent."""
    at = began
    for name in _in_order(task, timings_ms):
        ends = at + round(timings_ms[name] * _MILLION)
        tracer.start_span(name, parent, start_time=at).end(ends)
        at = ends


def _in_order(task: str | None, timings_ms: Mapping[str, float]) -> Iterator[str]:
    first, last = ("image_decode", "queue"), ("image_encode",)
    known = COMPONENTS.get(task or "", ())
    between = [name for name in known if name not in first + last]
    yield from (name for name in (*first, *between, *last) if name in timings_ms)


def provider_of_environment() -> TracerProvider | None:
    """A provider that exports what the environment says; None where it names no exporter, or traces are switched off.

    Read here: `OTEL_SDK_DISABLED`, `OTEL_TRACES_EXPORTER` (otlp or none), `OTEL_EXPORTER_OTLP_[TRACES_]ENDPOINT` and
    `_PROTOCOL` (http/protobuf); everything else is the SDK's.
    """
    exporter = os.environ.get("OTEL_TRACES_EXPORTER", "").strip().lower()
    endpoint = _variable("ENDPOINT")
    if os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true" or exporter == "none":
        return None
    if not exporter and endpoint is None:
        return None
    if exporter not in ("", "otlp"):
        _log.warning("OTEL_TRACES_EXPORTER is not otlp or none; there will be no traces")
        return None
    if (_variable("PROTOCOL") or "http/protobuf") != "http/protobuf":
        _log.warning("OTEL_EXPORTER_OTLP_PROTOCOL is not http/protobuf; there will be no traces")
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider as SdkProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        _log.warning("an OTEL_* variable asks for traces; pip install 'flashu-server[otel]' to have them")
        return None
    resource = Resource.create()
    if str(resource.attributes.get("service.name", "")).startswith("unknown_service"):
        resource = resource.merge(Resource({"service.name": "flashu-server"}))
    provider = SdkProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider


def _variable(name: str) -> str | None:
    return os.environ.get(f"OTEL_EXPORTER_OTLP_TRACES_{name}") or os.environ.get(f"OTEL_EXPORTER_OTLP_{name}") or None
