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

import uvicorn
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from flashu_core import EngineConfig
from server import __version__
from server.api.chat import chat_routes
from server.api.native import native_routes
from server.api.openai import openai_routes
from server.api.playground import playground_routes
from server.api.probes import probe_routes
from server.api.services import Services
from server.boundary import RequestBoundary
from server.child import PROGRAM
from server.connections import ConnectionLimits, guarded_protocol
from server.encodings import ContentEncoding
from server.errors import HANDLED, problem_of
from server.image_pool import ImagePool
from server.keys import METRICS, PAGE, PROBES, ApiKeys, KeyRing, open_to_all
from server.limits import BodyLimits
from server.logs import RequestLog, configure_logging
from server.messages import Load
from server.metrics import Metrics
from server.origins import AllowedHosts, Cors, TrustedHosts, origins_of
from server.paths import Paths
from server.quotas import Ledger, Quotas
from server.record import record_of
from server.remote import RemoteImages, RemoteLimits
from server.settings import Settings
from server.supervisor import Patience
from server.tracing import Tracing, provider_of_environment
from server.worker import Room, Worker

_log = logging.getLogger("flashu.server")
_LAST_WORDS_S = 0.5


def create_app(settings: Settings, *, program: Sequence[str] = PROGRAM) -> FastAPI:
    """The ASGI app. Its lifespan starts the worker; loading goes on in the background while the probes answer.

    Args:
        program: the worker's process; tests give another one.
    """
    worker = _worker(settings, program)
    metrics = Metrics()
    metrics.watch(worker)
    worker.watch(metrics.unit_ended)
    images = ImagePool(threads=settings.image_threads)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        worker.start()
        expecting = asyncio.create_task(_expect_policies(worker, metrics))
        try:
            yield
        finally:
            expecting.cancel()
            await worker.stop()
            images.close()

    # No documentation pages: they load scripts from elsewhere. The document itself is at /openapi.json.
    app = FastAPI(
        title="FlashU Server",
        version=__version__,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        servers=[{"url": settings.root_path}] if settings.root_path else None,
        # FastAPI's own would export raw paths, query strings and the words of exceptions; server.tracing does not.
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    services = Services(settings=settings, worker=worker, images=images, remote=_remote(settings), metrics=metrics)
    app.state.services = services
    routers = (
        native_routes(services),
        openai_routes(services),
        chat_routes(services),
        probe_routes(services),
        playground_routes(),
    )
    for router in routers:
        app.include_router(router)
    # From the innermost to the outermost.
    app.add_middleware(BodyLimits, max_bytes=settings.max_body_bytes, timeout_s=settings.body_timeout_s)
    app.add_middleware(ContentEncoding)
    _guard(app, settings)
    app.add_middleware(RequestBoundary, metrics=metrics)
    origins = origins_of(settings.cors_origins)
    if origins:
        app.add_middleware(Cors, origins=origins)
    routes = [*app.routes, *(route for router in routers for route in router.routes)]
    app.add_middleware(Paths, routes=routes, root_path=settings.root_path)
    _observe(app)

    async def answer(request: Request, error: Exception) -> Response:
        record = record_of(request.scope)
        problem = problem_of(error, record.names)
        record.fail(problem)
        return problem.response()

    for kind in HANDLED:
        app.add_exception_handler(kind, answer)
    return app


def _worker(settings: Settings, program: Sequence[str]) -> Worker:
    load = Load(
        model=settings.model,
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
        ),
        policy=settings.acceleration,
        log_level=settings.log_level,
        log_format=settings.log_format,
    )
    room = Room(seconds=settings.max_queue_seconds, requests=settings.max_queue)
    patience = Patience(load_s=settings.load_timeout_s, unit_s=settings.hang_timeout_s, restarts=settings.max_restarts)
    return Worker(load, room, patience, program=program)


async def _expect_policies(worker: Worker, metrics: Metrics) -> None:
    info = await worker.loaded()
    if info is not None:
        metrics.expect(info.policies)


def _remote(settings: Settings) -> RemoteImages | None:
    if not settings.remote_images:
        return None
    limits = RemoteLimits(
        hosts=tuple(host.strip().lower() for host in settings.remote_image_hosts.split(",") if host.strip()),
        max_bytes=settings.remote_image_max_bytes,
        timeout_s=settings.remote_image_timeout_s,
    )
    return RemoteImages(limits)


def _guard(app: FastAPI, settings: Settings) -> None:
    open_routes = PROBES | PAGE | (METRICS if settings.open_metrics else frozenset())
    ledger = Ledger(requests=settings.rate_limit, work=settings.work_limit)
    if ledger:
        app.add_middleware(Quotas, ledger=ledger, open_routes=open_routes)
    loopback = not open_to_all(settings.host)
    hosts = AllowedHosts.of(settings.allowed_hosts, loopback=loopback)
    check_origin = loopback if settings.check_origin is None else settings.check_origin
    if hosts is not None or check_origin:
        origins = origins_of(settings.cors_origins)
        app.add_middleware(TrustedHosts, hosts=hosts, check_origin=check_origin, origins=origins, open_routes=PROBES)
    ring = KeyRing(settings.api_keys.get_secret_value(), settings.api_key_file)
    if ring:
        app.add_middleware(ApiKeys, ring=ring, open_routes=open_routes)
    elif open_to_all(settings.host):
        _log.warning("there are no API keys: whoever reaches %s may use this server", settings.host)


def _observe(app: FastAPI) -> None:
    provider = provider_of_environment()
    if provider is not None:
        app.add_middleware(Tracing, provider=provider, quiet=PROBES | METRICS)
    app.add_middleware(RequestLog)


class _Server(uvicorn.Server):
    """uvicorn that tells the worker of SIGTERM at once, and the terminal when requests are taken. A second signal of
    either kind ends it by force."""

    def __init__(self, config: uvicorn.Config, worker: Worker) -> None:
        super().__init__(config)
        self._worker = worker
        self._loop: asyncio.AbstractEventLoop | None = None
        self._announcing: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        # What is loaded by now stays: a full collection that looked at all of it would stop the loop for 0.1 s.
        gc.collect()
        gc.freeze()
        self._loop = asyncio.get_running_loop()
        self._announcing = asyncio.create_task(self._announce())

    def handle_exit(self, sig: int, frame: object) -> None:
        if self._loop is not None:  # not here and now: the signal may have interrupted anything
            self._loop.call_soon_threadsafe(self._worker.give_up if self.should_exit else self._worker.begin_drain)
        self.force_exit = self.should_exit
        super().handle_exit(sig, frame)  # type: ignore[arg-type]

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        if self._announcing is not None:
            self._announcing.cancel()
        # uvicorn cancels what is unfinished at the end of its time; a little before, the clients are told.
        grace = float(self.config.timeout_graceful_shutdown or 0)
        timer = asyncio.get_running_loop().call_later(max(grace - _LAST_WORDS_S, 0.0), self._worker.give_up)
        await super().shutdown(sockets)
        timer.cancel()

    async def _announce(self) -> None:
        info = await self._worker.loaded()
        if info is not None:
            host, port = self.servers[0].sockets[0].getsockname()[:2]
            shown = f"[{host}]" if ":" in host else host
            print(f"{info.name} is ready on http://{shown}:{port}", flush=True)


def run(settings: Settings, *, program: Sequence[str] = PROGRAM) -> None:
    """Serves until SIGTERM or SIGINT, then lets requests in flight end within `shutdown_timeout_s`.

    Args:
        program: the worker's process; tests give another one.
    """
    configure_logging(settings.log_level, settings.log_format)
    app = create_app(settings, program=program)
    services: Services = app.state.services
    connections = ConnectionLimits(
        most=settings.max_connections, head_s=settings.head_timeout_s, stall_s=settings.write_timeout_s
    )
    options = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        http=guarded_protocol(connections, services.metrics.reject),  # h11, the only one whose cap on headers holds
        loop="asyncio",  # the one that is tested, whatever else is installed
        ws="none",
        lifespan="on",
        log_config=None,
        log_level=settings.log_level,
        access_log=False,  # server.logs has lines of its own
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=5,
        timeout_graceful_shutdown=settings.shutdown_timeout_s,
    )
    # uvicorn raises the signals again when all is done; by then they have been obeyed, and the exit status is 0.
    signal.signal(signal.SIGTERM, lambda *_: None)
    with contextlib.suppress(KeyboardInterrupt):
        _Server(options, services.worker).run()
