"""Puts the server together: middleware, routes, error handlers and the worker's life. It knows all the parts and does
nothing itself; `run` serves the app with uvicorn."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import signal
import socket
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import uvicorn
from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from flashu_core import EngineConfig
from flashu_core.checkpoint.hub import is_hub_id
from flashu_core.streams import open_standard_streams
from server import __version__
from server.api.chat import chat_routes
from server.api.completions import completion_routes
from server.api.docs import docs_routes
from server.api.edits import edit_routes
from server.api.files import file_routes
from server.api.native import native_routes
from server.api.openai import openai_routes
from server.api.openapi import DocumentedApi
from server.api.playground import playground_routes
from server.api.probes import probe_routes
from server.api.responses import responses_routes
from server.api.services import Services
from server.api.unknown_routes import UnknownRoute, allowing
from server.connections.listening import address_of, listen
from server.connections.protocol import ConnectionLimits, guarded_protocol
from server.errors import HANDLED, problem_of
from server.images import store as image_store
from server.images.fetch import RemoteImages, RemoteLimits
from server.images.pool import ImageLimits, ImagePool
from server.ipc.child_process import PROGRAM
from server.ipc.protocol import Load
from server.logs import configure_logging, dropped_lines, log_everything
from server.metrics import Metrics
from server.middleware.body_limits import BodyLimits
from server.middleware.body_memory import BodyMemory
from server.middleware.encodings import ContentEncoding
from server.middleware.keys import METRICS, PAGE, PROBES, ApiKeys, KeyRing, open_to_all
from server.middleware.origins import AllowedHosts, Cors, TrustedHosts, origins_of
from server.middleware.overload import WORK_PATHS, Overload
from server.middleware.paths import Paths
from server.middleware.priorities import Priorities
from server.middleware.quotas import Ledger, Quotas
from server.middleware.request_id import RequestBoundary
from server.middleware.request_log import RequestLog
from server.middleware.tracing import Tracing, provider_of_environment
from server.middleware.work_limits import WorkLimits
from server.request_record import record_of
from server.settings import Settings
from server.worker.admission import QueueLimits
from server.worker.client import Worker
from server.worker.supervisor import WorkerTimeouts

_log = logging.getLogger("flashu.server")
_LAST_WORDS_S = 0.5
NEVER_READY = 3


def create_app(settings: Settings, *, program: Sequence[str] = PROGRAM) -> FastAPI:
    """The ASGI app. Its lifespan starts the worker; loading goes on in the background while the probes answer.

    Args:
        program: the worker's process; tests give another one.
    """
    worker = _worker(settings, program)
    metrics = Metrics(max_age_s=settings.metrics_max_age_s)
    metrics.watch(worker)
    metrics.watch_log(dropped_lines)
    worker.watch(metrics.unit_ended)
    images = _images(settings)
    metrics.watch_images(images.pools)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        worker.start()
        images.start()
        expecting = asyncio.create_task(_expect_policies(worker, metrics))
        try:
            yield
        finally:
            expecting.cancel()
            await images.stop()
            await worker.stop()

    app = DocumentedApi(
        title="FlashU Server",
        version=__version__,
        lifespan=lifespan,
        docs_url=None,  # FastAPI's pages load scripts from elsewhere; server.api.docs does not
        redoc_url=None,
        redirect_slashes=False,
        servers=[{"url": settings.root_path}] if settings.root_path else None,
        # FastAPI's own would export raw paths, query strings and exception texts; server.middleware.tracing does not.
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    services = Services(
        settings=settings,
        worker=worker,
        images=images,
        remote=_remote(settings),
        metrics=metrics,
        store=_store(settings),
        priorities=Priorities(settings.min_priority, settings.priority_keys),
    )
    app.state.services = services
    routers = (
        native_routes(services),
        openai_routes(services),
        edit_routes(),
        chat_routes(services),
        completion_routes(services),
        responses_routes(services),
        file_routes(services),
        probe_routes(services),
        playground_routes(),
        docs_routes(),
    )
    for router in routers:
        app.include_router(router)
    # From the innermost to the outermost.
    app.add_middleware(
        BodyLimits,
        max_bytes=settings.max_body_bytes,
        timeout_s=settings.body_timeout_s,
        memory=BodyMemory(max(settings.max_body_memory_mib * 2**20, settings.max_body_bytes)),
    )
    app.add_middleware(ContentEncoding)
    app.add_middleware(Overload, gate=worker, priorities=services.priorities, tasks=WORK_PATHS)
    _guard(app, settings)
    app.add_middleware(RequestBoundary, metrics=metrics)
    origins = origins_of(settings.cors_origins)
    if origins:
        app.add_middleware(Cors, origins=origins)
    routes = [*app.routes, *(route for router in routers for route in router.routes)]
    app.add_middleware(Paths, routes=routes, root_path=settings.root_path)
    app.router.default = UnknownRoute(route.path for route in routes if isinstance(route, Route))
    _observe(app)

    async def answer(request: Request, error: Exception) -> Response:
        if isinstance(error, HTTPException) and error.status_code == 405:
            allowed = allowing(request.method, error)
            if isinstance(allowed, Response):
                return allowed
            error = allowed
        record = record_of(request.scope)
        problem = problem_of(error, record.names)
        record.fail(problem)
        return problem.response()

    for kind in HANDLED:
        app.add_exception_handler(kind, answer)
    return app


def _worker(settings: Settings, program: Sequence[str]) -> Worker:
    load = Load(
        model=_from_anywhere(settings.model),
        engine=EngineConfig(
            device=settings.device,
            dtype=settings.dtype,
            attention=settings.attention,
            max_batch=settings.max_batch,
            max_prompt_tokens=settings.max_prompt_tokens,
            max_running=settings.max_running,
            max_picture_bytes=settings.max_picture_mib * 2**20,
            max_answer_bytes=settings.max_answer_mib * 2**20,
            answer_weight=settings.answer_weight,
            enforce_eager=settings.enforce_eager,
        ),
        acceleration=settings.acceleration,
        log_level=settings.log_level,
        log_format=settings.log_format,
        threads=settings.threads,
    )
    queue_limits = QueueLimits(
        seconds=settings.max_queue_seconds,
        requests=settings.max_queue,
        request_seconds=settings.max_request_seconds,
        batch=load.engine.max_batch,
        rows=load.engine.running,
        answer_weight=settings.answer_weight,
    )
    timeouts = WorkerTimeouts(
        load_s=settings.load_timeout_s, unit_s=settings.hang_timeout_s, restarts=settings.max_restarts
    )
    return Worker(load, queue_limits, timeouts, program=program)


def _from_anywhere(model: str | None) -> str | None:
    """A folder's name as the worker's process can use it, which works elsewhere; a hub id as it is."""
    if model is None:
        return None
    path = Path(model).expanduser()
    return str(path.absolute()) if path.exists() or not is_hub_id(model) else model


async def _expect_policies(worker: Worker, metrics: Metrics) -> None:
    info = await worker.loaded()
    if info is not None:
        metrics.expect(info.name, info.policies)


def _images(settings: Settings) -> ImagePool:
    limits = ImageLimits(
        max_pixels=settings.max_pixels,
        min_side=settings.min_side,
        max_memory=settings.image_memory_mib * 2**20,
        max_file_bytes=max(settings.max_body_bytes, settings.remote_image_max_bytes),
        timeout_s=settings.image_decode_timeout_s,
    )
    return ImagePool(limits, processes=settings.image_processes, max_wait_s=settings.max_queue_seconds)


def _remote(settings: Settings) -> RemoteImages | None:
    if not settings.remote_images:
        return None
    limits = RemoteLimits(
        hosts=tuple(host.strip().lower() for host in settings.remote_image_hosts.split(",") if host.strip()),
        max_bytes=settings.remote_image_max_bytes,
        timeout_s=settings.remote_image_timeout_s,
    )
    return RemoteImages(limits)


def _store(settings: Settings) -> image_store.ImageStore | None:
    if not settings.image_store_mib:
        return None
    return image_store.ImageStore(max_bytes=settings.image_store_mib * 2**20)


def _guard(app: FastAPI, settings: Settings) -> None:
    open_routes = PROBES | PAGE | (METRICS if settings.open_metrics else frozenset())
    ledger, work = Ledger(requests=settings.rate_limit), WorkLimits(settings.work_limit)
    if ledger or work:
        app.add_middleware(Quotas, ledger=ledger, work=work, open_routes=open_routes)
    loopback = not open_to_all(settings.host)
    hosts = AllowedHosts.of(settings.allowed_hosts, loopback=loopback)
    check_origin = loopback if settings.check_origin is None else settings.check_origin
    if hosts is not None or check_origin:
        origins = origins_of(settings.cors_origins)
        app.add_middleware(TrustedHosts, hosts=hosts, check_origin=check_origin, origins=origins, open_routes=PROBES)
    ring = KeyRing(settings.api_keys.get_secret_value(), settings.api_key_file)
    if ring:
        # An address of a kept picture is its own key, for every client that has it.
        app.add_middleware(ApiKeys, ring=ring, open_routes=open_routes, open_prefixes=(image_store.PREFIX,))
    elif open_to_all(settings.host):
        _log.warning("there are no API keys: everyone who reaches %s may use this server", settings.host)


def _observe(app: FastAPI) -> None:
    provider = provider_of_environment()
    if provider is not None:
        app.add_middleware(Tracing, provider=provider, quiet=PROBES | METRICS)
    app.add_middleware(RequestLog)


class _Server(uvicorn.Server):
    """uvicorn that tells the worker of SIGTERM at once, says when requests are taken, and ends where they never will
    be. A second signal of either kind ends it by force.

    Attributes:
        status: the process's exit status.
    """

    def __init__(self, config: uvicorn.Config, worker: Worker, images: ImagePool, *, printed: bool) -> None:
        super().__init__(config)
        self.status = 0
        self._worker = worker
        self._images = images
        self._printed = printed
        self._loop: asyncio.AbstractEventLoop | None = None
        self._announcing: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        # What is loaded by now stays: a full collection that looked at all of it would stop the loop for 0.1 s.
        gc.collect()
        gc.freeze()
        self._loop = asyncio.get_running_loop()
        self._announcing = asyncio.create_task(self._announce())

    def obey(self, *_: object) -> None:
        """What a signal does before uvicorn listens to signals, which it also restores and raises again at its end."""
        self.should_exit = True

    def handle_exit(self, sig: int, frame: object) -> None:
        if self._loop is not None:  # not here and now: the signal may have interrupted anything
            self._loop.call_soon_threadsafe(self._give_up if self.should_exit else self._worker.begin_drain)
        self.force_exit = self.should_exit
        super().handle_exit(sig, frame)  # type: ignore[arg-type]

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        if self._announcing is not None:
            self._announcing.cancel()
        # uvicorn cancels what is unfinished at the end of its time; a little before, the clients get an error.
        grace = float(self.config.timeout_graceful_shutdown or 0)
        timer = asyncio.get_running_loop().call_later(max(grace - _LAST_WORDS_S, 0.0), self._give_up)
        await super().shutdown(sockets)
        timer.cancel()

    def _give_up(self) -> None:
        self._worker.give_up()
        self._images.close()

    async def _announce(self) -> None:
        info = await self._worker.loaded()
        if info is not None:
            listening = [address_of(one) for server in self.servers for one in server.sockets]
            _log.info("%s is ready", info.name, extra={"fields": {"addresses": ", ".join(listening)}})
            if self._printed:
                with contextlib.suppress(OSError, ValueError):  # nobody there to read it
                    # With its end in one piece: unbuffered, a line of the log could come between.
                    print(f"{info.name} is ready on {listening[0]}\n", end="", flush=True)
        elif self._worker.state == "failed":
            self.status = NEVER_READY
            self.should_exit = True


def _with_prefix(paths: frozenset[str], prefix: str) -> frozenset[str]:
    return paths | {f"{prefix}{path}" for path in paths}


def http_options(app: FastAPI, settings: Settings) -> uvicorn.Config:
    """How uvicorn serves the app."""
    connections = ConnectionLimits(
        maximum=settings.max_connections,
        per_client=settings.max_connections_per_client or max(settings.max_connections // 2, 1),
        probes=_with_prefix(PROBES | METRICS, settings.root_path),
        head_s=settings.head_timeout_s,
        stall_s=settings.write_timeout_s,
    )
    services: Services = app.state.services
    return uvicorn.Config(
        app,
        http=guarded_protocol(connections, services.metrics.reject),  # h11, the only one whose cap on headers holds
        loop="asyncio",  # the one that is tested, whatever else is installed
        ws="none",
        lifespan="on",
        log_config=None,
        log_level=settings.log_level,
        access_log=False,  # server.middleware.request_log has lines of its own
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=settings.keep_alive_s,
        timeout_graceful_shutdown=settings.shutdown_timeout_s,
    )


def run(settings: Settings, *, program: Sequence[str] = PROGRAM) -> int:
    """Serves until SIGTERM or SIGINT, then lets requests in flight end within `shutdown_timeout_s`.

    Args:
        program: the worker's process; tests give another one.

    Returns:
        The exit status: 0, or `NEVER_READY` where the model could not be loaded and another try would not help.

    Raises:
        ConfigurationError: a setting cannot be used, or the address cannot be listened on.
    """
    open_standard_streams()
    configure_logging(settings.log_level, settings.log_format)
    log_everything()
    app = create_app(settings, program=program)
    services: Services = app.state.services
    sockets = listen(settings.host, settings.port)
    options = http_options(app, settings)
    server = _Server(options, services.worker, services.images, printed=settings.log_format == "text")
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, server.obey)
    server.run(sockets=sockets)
    return server.status
