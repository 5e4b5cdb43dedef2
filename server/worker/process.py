"""The program of the worker's process: it owns the engine in its main thread and takes commands from an inherited pipe
in another. It ends at once when the front end does, knows no HTTP, and never logs what a client sent.

Run as `python -m server.worker.process DESCRIPTOR`, which only `server.ipc.child_process` does.
"""

from __future__ import annotations

import contextlib
import faulthandler
import logging
import os
import queue
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, NoReturn, Protocol

from flashu_core import (
    CalibrationError,
    CheckpointError,
    CheckpointUnreachableError,
    ConfigurationError,
    Event,
    FlashUError,
    KernelUnavailableError,
    ModelInfo,
    Request,
    UnitCosts,
    UnitEnded,
)
from flashu_core.acceleration.policies import POLICIES
from flashu_core.streams import open_standard_streams
from flashu_core.threads import configure_threads
from server.ipc.framing import Bytes, WireError, encode, receive_blocking
from server.ipc.process_limits import die_with_parent
from server.ipc.protocol import (
    TO_WORKER,
    Cancel,
    Load,
    Loaded,
    LoadFailed,
    Refused,
    Shutdown,
    Submit,
    ToWorker,
    Valid,
    Validate,
)
from server.logs import configure_logging, log_everything

if TYPE_CHECKING:
    from flashu_core import Engine

_log = logging.getLogger("flashu.engine")
_NICENESS = 2
_SMALL = 64 * 1024  # bytes that are rather copied than sent alone
# Of commands between two units of work: a flood of requests must not hold up those that run.
_DRAIN_COMMANDS = 64
_DRAIN_S = 0.02


class EngineLike(Protocol):
    """What the process needs of an engine; it calls all of it from one thread."""

    @property
    def info(self) -> ModelInfo: ...
    @property
    def idle(self) -> bool: ...
    @property
    def costs(self) -> UnitCosts | None: ...
    @property
    def memory(self) -> Mapping[str, int]: ...
    def warm_up(self, on_unit: Callable[[UnitEnded], None]) -> None: ...
    def submit(self, request: Request, *, request_id: str, arrived: float | None = None) -> None: ...
    def validate(self, request: Request) -> None: ...
    def cancel(self, request_id: str) -> None: ...
    def step(self) -> list[Event]: ...


class EngineProcess:
    """The engine behind one end of a pipe.

    Args:
        pipe: a stream socket; its end is the process's end.
        load: makes the engine.
    """

    def __init__(self, pipe: socket.socket, load: Callable[[Load], EngineLike]) -> None:
        self._pipe = pipe
        self._load = load
        self._commands: queue.SimpleQueue[ToWorker] = queue.SimpleQueue()
        self._ready = False
        self._ending = threading.Event()
        self._frames: list[Bytes] = []  # encoded, and not yet sent

    def run(self) -> int:
        """Serves until it receives `Shutdown`; returns the exit status."""
        threading.Thread(target=self._listen, name="flashu-commands", daemon=True).start()
        first = self._commands.get()
        if not isinstance(first, Load):
            _log.error("the first message is a %s, not what to load", type(first).__name__)
            return 1
        configure_logging(first.log_level, first.log_format)
        try:
            engine = self._load(first)
            engine.warm_up(self._report)
        except FlashUError as error:
            self._emit(LoadFailed(message=str(error), permanent=_is_permanent(error)))
            self._send()
            return 1
        except Exception as error:  # noqa: BLE001 - the process's boundary
            _log.exception("the model did not load")  # no client has come yet, so all of it may be said
            # Memory that is short, a disk that is full: it may be otherwise the next time.
            message = f"{type(error).__name__}; the lines above have the details"
            self._emit(LoadFailed(message=message, permanent=False))
            self._send()
            return 1
        assert engine.costs is not None  # it is warm
        self._ready = True
        self._emit(Loaded(info=engine.info, costs=engine.costs))
        self._send()
        try:
            self._serve(engine)
        except Exception as error:  # noqa: BLE001 - the process's boundary: a new one takes over
            _log.error("the engine broke; the process ends\n%s", _places(error))
            return 1
        return 0

    def _serve(self, engine: EngineLike) -> None:
        while True:
            for command in self._next(wait=engine.idle):
                match command:
                    case Submit(request_id=request_id, request=request, arrived=arrived):
                        with self._refusing(request_id):
                            engine.submit(request, request_id=request_id, arrived=arrived)
                    case Validate(request_id=request_id, request=request):
                        with self._refusing(request_id):
                            engine.validate(request)
                            self._emit(Valid(request_id=request_id))
                    case Cancel(request_id=request_id):
                        engine.cancel(request_id)
                    case Load():
                        raise WireError("a model is loaded already")
            if self._ending.is_set():
                return
            for event in engine.step():
                self._emit(event)
            self._send()  # `Begun` too, before the unit runs: that may be the process's last

    def _next(self, *, wait: bool) -> Iterator[ToWorker]:
        """The commands that have come, but only as many as hold up running requests by no more than a short unit: the
        rest comes behind the next one. Where there is nothing to do, after waiting for one."""
        if wait:
            yield self._commands.get()
        ends = time.monotonic() + _DRAIN_S
        for _ in range(_DRAIN_COMMANDS):
            if self._commands.empty() or time.monotonic() >= ends:  # nobody else takes any
                return
            yield self._commands.get()

    @contextlib.contextmanager
    def _refusing(self, request_id: str) -> Iterator[None]:
        """Reports that a request is refused where the engine does not take it."""
        try:
            yield
        except FlashUError as error:
            self._emit(Refused(request_id=request_id, error=error))
        except Exception as error:  # noqa: BLE001 - the request's boundary: the others must not notice
            _log.error("the engine could not take a request\n%s", _places(error))
            self._emit(Refused(request_id=request_id, error=None))

    def _report(self, unit: UnitEnded) -> None:
        """Sends a sign of progress while the engine warms up."""
        self._emit(unit)
        self._send()

    def _emit(self, message: object) -> None:
        self._frames += encode(message)

    def _send(self) -> None:
        """Sends the encoded frames; those of one unit go together, because each write wakes the other process."""
        small = bytearray()
        for buffer in self._frames:
            if len(buffer) <= _SMALL:
                small += buffer
                continue
            self._pipe.sendall(small)
            self._pipe.sendall(buffer)
            small.clear()
        self._pipe.sendall(small)
        self._frames.clear()

    # The other thread

    def _listen(self) -> None:
        """Takes commands until the front end closes the pipe or dies, and then ends the process whatever it does."""
        status = 1
        try:
            while (message := receive_blocking(self._pipe, TO_WORKER)) is not None:
                if isinstance(message, Shutdown):
                    if not self._ready:
                        break
                    self._ending.set()  # whatever came before it
                self._commands.put(message)
            status = 0
        except WireError as error:
            _log.error("the front end sent a broken frame: %s", error)
        finally:
            os._exit(status)


def main(descriptor: int, load: Callable[[Load], EngineLike] | None = None) -> NoReturn:
    """Runs the process on an inherited socket, to its end.

    Args:
        load: makes the engine, by default that of `flashu_core`; only another program can give another one.
    """
    # A terminal, or a service manager, signals all processes at once: the front end decides what that means here.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    open_standard_streams()
    die_with_parent()  # for the case that nobody reads the pipe: native code can hold the interpreter for long
    # On a machine of few cores: the front end's milliseconds between two waits are not to queue behind our threads.
    os.nice(_NICENESS)
    faulthandler.enable()
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    log_everything()
    status = EngineProcess(socket.socket(fileno=descriptor), load or load_engine).run()
    logging.shutdown()
    os._exit(status)  # the interpreter's own ending would wait for a device that may be broken


def load_engine(wanted: Load) -> Engine:
    """The engine of `flashu_core`.

    Raises:
        FlashUError: it cannot be loaded, or has no such policy.
    """
    if wanted.acceleration not in POLICIES:
        raise ConfigurationError(f"acceleration is {wanted.acceleration!r}; use one of: {', '.join(POLICIES)}")
    threads = configure_threads(wanted.threads)
    from flashu_core import Engine  # the seconds that torch takes come after the pipe is listened to

    engine = Engine.load(wanted.model, wanted.engine)
    if engine.info.device == "cpu":
        threads.fit(engine.info.parameters)
    return engine


def _is_permanent(error: FlashUError) -> bool:
    """Whether loading would fail the same way the next time; a hub may answer then, and memory be free."""
    lasting = (CalibrationError, CheckpointError, ConfigurationError, KernelUnavailableError)
    return isinstance(error, lasting) and not isinstance(error, CheckpointUnreachableError)


def _places(error: BaseException) -> str:
    """The error's class and the lines it came through, without its words: they may repeat what a client sent."""
    lines = [*traceback.format_tb(error.__traceback__), type(error).__name__]
    earlier = error.__cause__ or error.__context__
    return (f"{_places(earlier)}\n" if earlier is not None else "") + "".join(lines)


if __name__ == "__main__":
    main(int(sys.argv[1]))
