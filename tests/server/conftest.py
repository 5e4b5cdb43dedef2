"""A worker's process with a small engine that a test can hold and read, and a server around it on a real socket. Most
of what the server's own tests ask of it needs no model; `real` is a server with the embedded one."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
import pytest_asyncio
import uvicorn

from flashu_core import EngineConfig
from server.api.services import Services
from server.app import create_app
from server.connections.protocol import ConnectionLimits, guarded_protocol
from server.images.pool import ImagePool
from server.ipc.child_process import PROGRAM
from server.ipc.protocol import Load
from server.settings import Settings
from server.worker.admission import QueueLimits
from server.worker.client import Worker
from server.worker.supervisor import WorkerTimeouts

# Two processes may share few cores with other tests; nothing here is to fail for that.
TIMEOUT_S = 60.0


class Toy:
    """The small engine's process as a test sees it, through files."""

    def __init__(self, folder: Path, *, step_s: float = 0.001, known_words: str = "") -> None:
        self.folder = folder
        (folder / "known-words").write_text(known_words)
        self.program = (sys.executable, str(Path(__file__).with_name("toy_process.py")), str(folder), str(step_s))

    def hold(self, name: str = "hold") -> None:
        """Time stops inside the next step (or, with `hold-loading`, before it is ready)."""
        (self.folder / name).touch()

    def release(self, name: str = "hold") -> None:
        (self.folder / name).unlink(missing_ok=True)

    def logged(self, what: str) -> list[SimpleNamespace]:
        path = self.folder / "log"
        lines = path.read_text().splitlines() if path.exists() else []
        entries = [SimpleNamespace(**json.loads(line)) for line in lines]
        return [entry for entry in entries if entry.what == what]

    @property
    def seen(self) -> list[SimpleNamespace]:
        """Every request that reached the engine: its `text`, `seed` and `temperature`."""
        return self.logged("submit")


@dataclass(frozen=True)
class Live:
    """A running server, its engine where that is the toy, and a client of it."""

    engine: Toy | None
    client: httpx.Client
    port: int
    worker: Worker
    images: ImagePool

    def metric(self, line: str) -> float:
        for shown in self.client.get("/metrics").text.splitlines():
            if shown.startswith(line + " "):
                return float(shown.split()[-1])
        return 0.0

    def wait_for(self, condition: Callable[[], bool], seconds: float = TIMEOUT_S) -> None:
        ends = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < ends, "it did not happen in time"
            time.sleep(0.01)

    def wait_until_ready(self) -> None:
        self.wait_for(lambda: self.client.get("/readyz").status_code == 200)


@contextlib.contextmanager
def _serving(engine: Toy | None, *, program: Sequence[str] = PROGRAM, **settings: object) -> Iterator[Live]:
    if engine is not None:
        program = engine.program
    app = create_app(Settings(**{"hang_timeout_s": 600, "metrics_max_age_s": 0, **settings}), program=program)  # type: ignore[arg-type]
    services: Services = app.state.services
    # The protocol is named because asyncio sends small answers at once (TCP_NODELAY) only where it is.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(128)
        port = listening.getsockname()[1]
        options = uvicorn.Config(
            app, http="h11", loop="asyncio", ws="none", lifespan="on", log_config=None, timeout_graceful_shutdown=5
        )
        server = uvicorn.Server(options)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=TIMEOUT_S) as client:
                live = Live(engine, client, port, services.worker, services.images)
                live.wait_for(lambda: server.started)
                yield live
        finally:
            if engine is not None:
                engine.release()
                engine.release("hold-loading")
            server.should_exit = True
            thread.join(TIMEOUT_S)
            assert not thread.is_alive()


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Toy]:
    """Makes engines, each with a folder of its own."""

    def make(**options: Any) -> Toy:
        return Toy(tmp_path_factory.mktemp("toy"), **options)

    return make


@pytest.fixture(scope="session")
def serving() -> Callable[..., contextlib.AbstractContextManager[Live]]:
    return _serving


@pytest.fixture(scope="session")
def shared(toy: Callable[..., Toy]) -> Iterator[Live]:
    """One ready server for all tests that leave it as they found it."""
    with _serving(toy(), max_body_bytes=8 * 2**20, body_timeout_s=1.0) as live:
        live.wait_until_ready()
        yield live


@pytest.fixture(scope="session")
def real() -> Iterator[Live]:
    """A ready server with the embedded model, which refuses nobody for having to wait."""
    with _serving(None, acceleration="exact", dtype="float32", max_queue_seconds=3600) as live:
        live.wait_until_ready()
        yield live


@contextlib.asynccontextmanager
async def _working(engine: Any, *, wait: bool = True, **timeouts: Any) -> AsyncIterator[Worker]:
    """A worker before which six may wait, on an engine that no test shares."""
    worker = Worker(
        Load(model=None, engine=EngineConfig(), acceleration="exact", log_level="warning"),
        QueueLimits(seconds=600.0, requests=6, request_seconds=600.0),
        WorkerTimeouts(**{"unit_s": 600.0, **timeouts}),
        program=engine.program,
    )
    worker.start()
    try:
        if wait:
            assert await worker.loaded() is not None
        yield worker
    finally:
        for name in ("hold", "hold-harm", "hold-loading"):
            engine.release(name)
        await worker.stop()


@pytest.fixture(scope="session")
def working() -> Callable[..., contextlib.AbstractAsyncContextManager[Worker]]:
    return _working


@dataclass
class Served:
    """A server with a few routes behind the guards of its connections, and what it has cut off."""

    port: int
    big: int = 24 * 2**20
    events: int = 20_000
    cut: list[str] = field(default_factory=list)
    waiting: int = 0
    reading: int = 0
    ended: int = 0

    def connect(self, source: str = "127.0.0.1", **options: int) -> socket.socket:
        client = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        for name, value in options.items():
            client.setsockopt(socket.SOL_SOCKET, getattr(socket, name), value)
        client.settimeout(TIMEOUT_S)
        client.bind((source, 0))
        client.connect(("127.0.0.1", self.port))
        return client

    def wait_for(self, condition: Callable[[], bool]) -> None:
        ends = time.monotonic() + TIMEOUT_S
        while not condition():
            assert time.monotonic() < ends, "it did not happen in time"
            time.sleep(0.01)

    async def length(self, receive: Any) -> int:
        """Bytes of a body."""
        length = 0
        self.reading += 1
        try:
            while True:
                message = await receive()
                length += len(message.get("body", b""))
                if not message.get("more_body"):
                    return length
        finally:
            self.reading -= 1

    async def app(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/wait":
            self.waiting += 1
            while (await receive())["type"] != "http.disconnect":
                pass
            self.waiting -= 1
        if scope["path"] == "/slow":
            await asyncio.sleep(1.5)
        body = b"x" * self.big if scope["path"] == "/big" else b"ok"
        if scope["path"] == "/events":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            for index in range(self.events):
                await send({"type": "http.response.body", "body": b"data: %05d\n\n" % index, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
            self.ended += 1
            return
        if scope["path"] == "/read":
            body = str(await self.length(receive)).encode()
        headers = [(b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})
        self.ended += 1


@contextlib.contextmanager
def _guarded(**limits: Any) -> Iterator[Served]:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 64 * 1024)  # so that much stays with the server
        listening.bind(("127.0.0.1", 0))
        listening.listen(512)
        served = Served(listening.getsockname()[1])
        http = guarded_protocol(ConnectionLimits(**limits), served.cut.append)
        options = uvicorn.Config(
            served.app,
            interface="asgi3",
            http=http,
            loop="asyncio",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
        )
        server = uvicorn.Server(options)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            served.wait_for(lambda: server.started)
            yield served
        finally:
            server.should_exit = server.force_exit = True
            thread.join(TIMEOUT_S)
            assert not thread.is_alive()


@pytest.fixture(scope="session")
def guarded() -> Callable[..., contextlib.AbstractContextManager[Served]]:
    return _guarded


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def both(toy: Any, working: Any) -> AsyncIterator[tuple[Toy, Worker]]:
    """A worker and its engine for all tests of a module that leave them as they found them."""
    engine = toy()
    async with working(engine, restarts=1000) as worker:
        yield engine, worker
