"""A server process, started as an operator would: `flashu serve --port 0`."""

from __future__ import annotations

import contextlib
import os
import queue
import re
import subprocess
import sys
import tempfile
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO

import psutil

_READY = re.compile(r" is ready on (http://\S+)$")
_LOAD_S = 300.0
_STOP_S = 60.0


class ServerError(RuntimeError):
    """The server did not start; the message has the reason or the end of its log."""


class ServerProcess:
    """A context manager that starts the server and stops it with SIGTERM.

    Args:
        options: further options of `flashu serve`.
        threads: threads of every numeric library; None leaves it to the server.
        environment: variables in addition to this process's.
        log: file of its log; None uses a temporary file.
        folder: its working directory; None is this process's.
        unread: its log goes into a pipe that is never read, and `log` is ignored.
        cores: cores it may run on; None is all.
        ready_s: seconds within which it must be ready.

    Attributes:
        base_url: its URL, once entered.
    """

    def __init__(
        self,
        options: Sequence[str] = (),
        *,
        threads: int | None = None,
        environment: Mapping[str, str] | None = None,
        log: Path | None = None,
        folder: Path | None = None,
        unread: bool = False,
        cores: Collection[int] | None = None,
        ready_s: float = _LOAD_S,
    ) -> None:
        program = Path(sys.executable).with_name("flashu")
        self._command = [str(program), "serve", "--port", "0", *options]
        self._environment = {**os.environ, **(environment or {})}
        if threads is not None:
            self._environment |= {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
        self._log_path = log
        self._folder = folder
        self._unread = unread
        self._cores = cores
        self._ready_s = ready_s
        self._process: subprocess.Popen[str] | None = None
        self._log: IO[str] | None = None
        self.base_url = ""

    def __enter__(self) -> ServerProcess:
        said = self._begin()
        try:
            self.base_url = self._address(said)
        except BaseException:
            self._stop()
            raise
        return self

    def begin(self) -> None:
        """Starts the server without waiting until it is ready; stop it with `close`."""
        self._begin()

    def close(self) -> None:
        """Sends SIGTERM and waits."""
        self._stop()

    def _begin(self) -> queue.SimpleQueue[str | None]:
        if not Path(self._command[0]).exists():
            raise ServerError(f"there is no {self._command[0]} to start; install the project into this Python")
        self._log = self._log_path.open("w+") if self._log_path else tempfile.TemporaryFile("w+")  # noqa: SIM115
        with _on(self._cores):
            self._process = subprocess.Popen(  # noqa: S603 - our own program
                self._command,
                env=self._environment,
                cwd=self._folder,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE if self._unread else self._log,
                text=True,
            )
        said: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        threading.Thread(target=_pass_on, args=(self._process.stdout, said), daemon=True).start()
        return said

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop()

    @property
    def pid(self) -> int:
        """Process id of the front end, once entered."""
        assert self._process is not None
        return self._process.pid

    def wait(self, seconds: float) -> int | None:
        """The exit status, or None if it still runs after `seconds`."""
        assert self._process is not None
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def kill(self) -> None:
        """Kills it and its children; for a server that did not stop on SIGTERM."""
        assert self._process is not None
        with contextlib.suppress(psutil.NoSuchProcess):
            for child in psutil.Process(self._process.pid).children(recursive=True):
                with contextlib.suppress(psutil.NoSuchProcess):
                    child.kill()
        self._process.kill()
        self._process.wait()

    def _address(self, said: queue.SimpleQueue[str | None]) -> str:
        while True:
            try:
                line = said.get(timeout=self._ready_s)
            except queue.Empty:
                raise ServerError(f"the server is not ready after {self._ready_s:g} s\n{self._last_words()}") from None
            if line is None:
                raise ServerError(f"the server exited before it was ready\n{self._last_words()}")
            if found := _READY.search(line.rstrip()):
                return found[1]

    def _last_words(self) -> str:
        assert self._log is not None
        self._log.seek(0)
        return self._log.read()[-2000:]

    def _stop(self) -> None:
        assert self._process is not None
        assert self._log is not None
        self._process.terminate()
        try:
            self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self.kill()
        for stream in (self._process.stdout, self._process.stderr):
            if stream is not None:
                stream.close()
        self._log.close()


@contextlib.contextmanager
def _on(cores: Collection[int] | None) -> Iterator[None]:
    """Sets this process's CPU affinity, which processes started within the `with` inherit."""
    if cores is None:
        yield
        return
    own = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, own)


def _pass_on(stream: IO[str] | None, said: queue.SimpleQueue[str | None]) -> None:
    """Reads to the end, so that the server never blocks on the pipe."""
    assert stream is not None
    try:
        for line in stream:
            said.put(line)
    except ValueError:  # closed in the meantime
        pass
    said.put(None)
