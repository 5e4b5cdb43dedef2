"""FlashU Server on Ray Serve: each replica is a whole server with its own engine. Serve distributes requests over
replicas and scales them with load. Routes, admission and engine are the server's, unchanged; each replica rejects
requests that would wait too long, as a single server does.

    serve run deploy/ray/serve.yaml
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from fastapi import FastAPI
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector
from pydantic import BaseModel, ConfigDict, Field
from ray import serve
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.api.services import Services
from server.app import create_app
from server.logs import configure_logging
from server.settings import Settings

_METRICS = "/metrics"
_GATHER_S = 5.0


class Options(BaseModel):
    """Arguments of the application, under `args` in a Serve config.

    Attributes:
        settings: of each replica's server, by the names of `server.settings.Settings`; `FLASHU_*` variables of the
            cluster's nodes apply as well.
        gpus: per replica; 0 runs on the CPU.
        cpus: per replica.
        min_replicas, max_replicas: number of replicas.
        target_requests: average number of requests in flight per replica above which another one is started.
        grace_s: seconds that a replica gets to finish its requests when it is stopped.
    """

    model_config = ConfigDict(extra="forbid")

    settings: dict[str, Any] = Field(default_factory=dict)
    gpus: float = Field(default=1.0, ge=0)
    cpus: float = Field(default=2.0, gt=0)
    min_replicas: int = Field(default=1, ge=1)
    max_replicas: int = Field(default=4, ge=1)
    target_requests: float = Field(default=8.0, gt=0)
    upscale_delay_s: float = Field(default=10.0, ge=0)
    downscale_delay_s: float = Field(default=300.0, ge=0)
    grace_s: float = Field(default=40.0, gt=0)


def application(options: Options) -> serve.Application:
    """The application that `serve run` and `serve deploy` build.

    Raises:
        pydantic.ValidationError: a setting or an option is unknown or out of range.
    """
    settings = Settings(**options.settings)

    def build() -> ASGIApp:
        configure_logging(settings.log_level, settings.log_format)
        return WholeMetrics(create_app(settings))

    replica = serve.deployment(
        serve.ingress(build)(Replica),
        name="Replica",
        ray_actor_options={"num_cpus": options.cpus, "num_gpus": options.gpus},
        autoscaling_config={
            "min_replicas": options.min_replicas,
            "max_replicas": options.max_replicas,
            "target_ongoing_requests": options.target_requests,
            "upscale_delay_s": options.upscale_delay_s,
            "downscale_delay_s": options.downscale_delay_s,
        },
        # The server's admission, which knows what requests cost, limits them. Serve's own limit only has to be higher.
        max_ongoing_requests=settings.max_queue + 4 * settings.max_batch,
        health_check_period_s=2.0,
        graceful_shutdown_timeout_s=options.grace_s,
        graceful_shutdown_wait_loop_s=0.5,
    )
    return replica.bind()


class Replica:
    """One server with its engine. Serve calls these methods, and `app` for requests."""

    app: WholeMetrics  # set by Serve, which wraps this class

    async def check_health(self) -> None:
        """Waits until the engine is warm, so that no request is routed here earlier; later fails if the engine cannot
        be kept alive, so that Serve replaces the replica.

        Raises:
            RuntimeError
        """
        worker = _services(self.app).worker
        await worker.loaded()
        if worker.state == "failed":
            raise RuntimeError("the engine's process does not stay alive; its log has the reason")

    async def exposition(self) -> tuple[str, str]:
        """This replica's id and its metrics as text."""
        return serve.get_replica_context().replica_id.unique_id, _services(self.app).metrics.render().decode()


class WholeMetrics:
    """The app with `/metrics` of all replicas, because Serve sends a scrape to any one of them. The app still decides
    whether a scrape is allowed."""

    def __init__(self, app: FastAPI) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != _METRICS or scope["method"] != "GET":
            await self.app(scope, receive, send)
            return
        own: list[Message] = []

        async def keep(message: Message) -> None:
            own.append(message)

        await self.app(scope, receive, keep)
        if own[0]["status"] != 200:
            for message in own:
                await send(message)
            return
        context = serve.get_replica_context()
        handle = serve.get_deployment_handle(context.deployment, context.app_name)
        expositions = await handle.broadcast("exposition").results_async(timeout_s=_GATHER_S)
        response = Response(merged(expositions), headers={"Content-Type": CONTENT_TYPE_LATEST})
        await response(scope, receive, send)


def merged(expositions: Iterable[tuple[str, str]]) -> bytes:
    """Several expositions as one, each sample with the label `replica`.

    Args:
        expositions: pairs of a replica's id and its exposition.
    """
    registry = CollectorRegistry()
    registry.register(_Merged(expositions))
    return generate_latest(registry)


class _Merged(Collector):
    def __init__(self, expositions: Iterable[tuple[str, str]]) -> None:
        self._expositions = expositions

    def collect(self) -> Iterator[Metric]:
        families: dict[str, Metric] = {}
        for replica, text in self._expositions:
            for family in text_string_to_metric_families(text):
                whole = families.setdefault(family.name, Metric(family.name, family.documentation, family.type))
                for sample in family.samples:
                    whole.add_sample(sample.name, {**sample.labels, "replica": replica}, sample.value)
        yield from families.values()


def _services(app: WholeMetrics) -> Services:
    services: Services = app.app.state.services
    return services
