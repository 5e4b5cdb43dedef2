"""One process of the engine as the front end holds it: started with one end of a socket pair, spoken to in frames, and
killed. It knows how to reach it, not what it should do."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from server.messages import FROM_WORKER, FromWorker
from server.wire import Frame, receive

# Without -P Python would look for the module in the working directory first, where anybody's `server` may be.
PROGRAM = (sys.executable, *(["-P"] if sys.version_info >= (3, 11) else []), "-m", "server.engine_process")
_HERE = str(Path(__file__).parents[1])
_MOMENT_S = 1.0


class Child:
    """A running process; `Child.start` makes it."""

    def __init__(
        self, process: asyncio.subprocess.Process, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._process = process
        self._reader = reader
        self._writer = writer

    @classmethod
    async def start(cls, program: Sequence[str]) -> Child:
        """Starts `program` with the descriptor of its end of the pipe as its last argument.

        Raises:
            OSError: no process or pipe can be had.
        """
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                process = await asyncio.create_subprocess_exec(
                    *program,
                    str(theirs.fileno()),
                    stdin=asyncio.subprocess.DEVNULL,
                    pass_fds=[theirs.fileno()],
                    env={**os.environ, "PYTHONPATH": os.pathsep.join([_HERE, *_path()])},
                )
            except BaseException:
                ours.close()
                raise
        reader, writer = await asyncio.open_unix_connection(sock=ours)
        return cls(process, reader, writer)

    @property
    def pid(self) -> int:
        return self._process.pid

    def send(self, frame: Frame) -> None:
        """Queues a frame; what cannot be sent any more is dropped, for then the end of `messages` is near."""
        for buffer in frame:
            if not self._writer.is_closing():
                self._writer.write(buffer)

    async def messages(self) -> AsyncIterator[FromWorker]:
        """What the process tells, until it closes its end.

        Raises:
            WireError: it sent what is no message.
        """
        with contextlib.suppress(ConnectionError):  # it died with something of ours unread
            while (message := await receive(self._reader, FROM_WORKER)) is not None:
                yield message

    def kill(self) -> None:
        """Ends it, even where it is stopped or in an endless loop."""
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()

    async def end(self) -> int:
        """Waits a moment for a process that is ending, kills it otherwise; returns its exit status."""
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._process.wait(), _MOMENT_S)
        self.kill()
        status = await self._process.wait()
        self._writer.transport.abort()  # not close(): nobody will read what was not sent
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()
        return status


def _path() -> list[str]:
    given = os.environ.get("PYTHONPATH")
    return [given] if given else []
