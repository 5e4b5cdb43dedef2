"""A small honest engine that draws seeded noise and names a picture's mean colour, and a server around it on a real
socket. Most tests of the server need no model; `real` is a server with the embedded one."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import httpx
import numpy as np
import pytest
import uvicorn

from flashu_core import (
    CancelledError,
    Engine,
    EngineConfig,
    Event,
    Failed,
    Finished,
    GenerateRequest,
    GenerateResult,
    InvalidRequestError,
    ModelInfo,
    Progress,
    Request,
    UnderstandResult,
)
from server.app import create_app
from server.settings import Settings
from server.worker import EngineLike

SECRET = "/secret/path/of/weights.bin"


class ToyEngine:
    """One evaluation of one request at a step, in turn; `held` stops time inside a step."""

    def __init__(self, *, step_s: float = 0.001) -> None:
        self.info = ModelInfo(
            name="toy",
            parameters=1,
            dtype="float32",
            device="cpu",
            sizes=((64, 64), (96, 64)),
            points=5,
            guidance=5.0,
            policies=("exact", "flashu"),
            max_prompt_tokens=256,
        )
        self.step_s = step_s
        self.go_on = threading.Event()
        self.go_on.set()
        self.warm = threading.Event()
        self.loading_error: Exception | None = None
        self.step_error: Exception | None = None
        self.seen: list[Request] = []
        self.cancelled: list[int] = []
        self.evaluations = 0
        self.most_active = 0
        self._active: dict[int, tuple[Request, int]] = {}
        self._unwanted: set[int] = set()
        self._thread: int | None = None

    @property
    def idle(self) -> bool:
        return not self._active

    def warm_up(self) -> None:
        self._own()
        if self.loading_error is not None:
            raise self.loading_error
        self.warm.set()

    def submit(self, request: Request) -> int:
        self._own()
        self.seen.append(request)
        text = request.prompt if isinstance(request, GenerateRequest) else request.question
        if text == "refuse":
            raise ValueError(SECRET)
        if len(text.split()) > self.info.max_prompt_tokens:
            raise InvalidRequestError("the prompt is too long; shorten it", parameter="prompt")
        self._active[len(self.seen)] = (request, 0)
        self.most_active = max(self.most_active, len(self._active))
        return len(self.seen)

    def cancel(self, request: int) -> None:
        self._own()
        self.cancelled.append(request)
        self._unwanted.add(request)

    def step(self) -> list[Event]:
        self._own()
        if self.idle:
            return []
        self.go_on.wait(20)
        time.sleep(self.step_s)
        if self.step_error is not None:
            raise self.step_error
        events: list[Event] = []
        for identity in [identity for identity in self._active if identity in self._unwanted]:
            del self._active[identity]
            events.append(Failed(identity, CancelledError("cancelled")))
        if self.idle:
            return events
        identity = next(iter(self._active))
        request, done = self._active.pop(identity)
        if isinstance(request, GenerateRequest):
            if request.prompt == "explode":
                raise RuntimeError(SECRET)
            of = (request.points or self.info.points) - 1
            self.evaluations += 1
            events.append(Progress(identity, done + 1, of))
            events.append(Finished(identity, _draw(request, of))) if done + 1 == of else None
            if done + 1 < of:
                self._active[identity] = (request, done + 1)
            return events
        if request.image is None:
            raise RuntimeError("the toy answers questions about pictures only")
        height, width = request.image.shape[:2]
        answer = f"{width}x{height} " + " ".join(str(round(value)) for value in request.image.mean((0, 1)))
        result = UnderstandResult(
            answer=answer,
            finish_reason="stop",
            prompt_tokens=7,
            completion_tokens=4,
            policy=request.policy,
            schedule={"prefills": 1},
            timings={"prefill": 1.0, "total": 1.0},
        )
        return [*events, Finished(identity, result)]

    def _own(self) -> None:
        me = threading.get_ident()
        self._thread = self._thread or me
        assert self._thread == me, "the engine was called from two threads"


def _draw(request: GenerateRequest, evaluations: int) -> GenerateResult:
    seed = 0 if request.seed is None else request.seed
    seeds = tuple(seed + index for index in range(request.images))
    text = zlib.crc32(request.prompt.encode())
    shape = (request.height or 64, request.width or 64, 3)
    return GenerateResult(
        images=tuple(np.random.default_rng([text, s]).integers(0, 256, shape).astype(np.uint8) for s in seeds),
        seeds=seeds,
        points=evaluations + 1,
        guidance=5.0 if request.guidance is None else request.guidance,
        policy=request.policy,
        schedule={"evaluations": evaluations},
        timings={"backbone": 1.0 * evaluations, "total": 1.0 * evaluations},
    )


@dataclass(frozen=True)
class Live:
    """A running server, its engine where that is the toy, and a client of it."""

    engine: ToyEngine | None
    client: httpx.Client
    port: int

    def metric(self, line: str) -> float:
        for shown in self.client.get("/metrics").text.splitlines():
            if shown.startswith(line + " "):
                return float(shown.split()[-1])
        return 0.0

    def wait_for(self, condition: Callable[[], bool], seconds: float = 5.0) -> None:
        ends = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < ends, "it did not happen in time"
            time.sleep(0.005)


@contextlib.contextmanager
def _serving(
    engine: ToyEngine | None, load: Callable[[], EngineLike] | None = None, **settings: object
) -> Iterator[Live]:
    app = create_app(Settings(**settings), load or (lambda: engine))  # type: ignore[arg-type,return-value]
    # The protocol is named because asyncio sends small answers at once (TCP_NODELAY) only where it is.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(128)
        port = listening.getsockname()[1]
        options = uvicorn.Config(
            app, http="h11", ws="none", lifespan="on", log_config=None, timeout_graceful_shutdown=5
        )
        server = uvicorn.Server(options)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20) as client:
                live = Live(engine, client, port)
                live.wait_for(lambda: server.started)
                yield live
        finally:
            if engine is not None:
                engine.go_on.set()
            server.should_exit = True
            thread.join(10)
            assert not thread.is_alive()


@pytest.fixture
def toy() -> type[ToyEngine]:
    return ToyEngine


@pytest.fixture
def serving() -> Callable[..., contextlib.AbstractContextManager[Live]]:
    return _serving


@pytest.fixture(scope="module")
def shared() -> Iterator[Live]:
    """One ready server for all tests of a module that leave it as they found it."""
    with _serving(ToyEngine(), max_body_bytes=8 * 2**20, body_timeout_s=1.0) as live:
        live.wait_for(lambda: live.client.get("/readyz").status_code == 200)
        yield live


@pytest.fixture(scope="module")
def real() -> Iterator[Live]:
    """A ready server with the embedded model."""
    with _serving(None, lambda: Engine.load(None, EngineConfig(dtype="float32")), acceleration="exact") as live:
        live.wait_for(lambda: live.client.get("/readyz").status_code == 200, 120)
        yield live
