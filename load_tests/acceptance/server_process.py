"""A server of our own, as an operator starts it: `flashu serve --port 0`. It knows the process, not what it does."""

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
    """It did not start; the message says why, or has the end of its log."""


class ServerProcess:
    """Starts on entering, and gets SIGTERM on leaving.

    Args:
        options: more of `flashu serve`'s.
        threads: of every numeric library in it; as many as there are cores where None.
        environment: variables beside this process's own.
        log: where its log goes; a file that is thrown away where None.
        folder: its working directory; this process's own where None.
        unread: its log goes into a pipe that nobody reads, and `log` is not used.
        cores: the processors it may run on; all where None.
        ready_s: seconds until it has to be ready.

    Attributes:
        base_url: where it answers, once it has been entered.
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
        """Starts it without waiting until it is ready; `close` ends what this began."""
        self._begin()

    def close(self) -> None:
        """Tells it to end, and waits."""
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
        """The front end's process, while it has been entered; its one child is the worker."""
        assert self._process is not None
        return self._process.pid

    def wait(self, seconds: float) -> int | None:
        """The exit status, or None where it still runs after so many seconds."""
        assert self._process is not None
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def kill(self) -> None:
        """Ends it at once, its worker too; for one that did not end on SIGTERM."""
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
                raise ServerError(f"the server ended before it was ready\n{self._last_words()}")
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
    """What is started within it runs on those cores from its first moment, for a process inherits them."""
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
    """Reads to the end, so that the server never waits for its reader."""
    assert stream is not None
    try:
        for line in stream:
            said.put(line)
    except ValueError:  # it was closed in the meantime
        pass
    said.put(None)
