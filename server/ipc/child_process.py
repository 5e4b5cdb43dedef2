"""A child process as the front end holds it: started with one end of a socket pair, spoken to in frames, and
killed. It knows how to reach it, not what it should do."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from server.ipc.framing import Frame, receive
from server.ipc.protocol import FROM_WORKER, FromWorker
from server.logs import pass_on

# Without -P Python would look for the module in the working directory first, where anybody's `server` may be.
PROGRAM = (sys.executable, *(["-P"] if sys.version_info >= (3, 11) else []), "-m", "server.worker.process")
_HERE = str(Path(__file__).parents[2])
# Absolute, for the process works elsewhere, and taken when the folder that they are relative to is surely there.
_PATH = [str(Path(entry).absolute()) for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
_QUIET = {"HF_HUB_DISABLE_PROGRESS_BARS": "1"}  # bars are no lines
_MOMENT_S = 1.0
_LINE_BYTES = 64 * 1024

T = TypeVar("T")


class Child:
    """A running process; `Child.start` makes it."""

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        output: asyncio.Task[None],
    ) -> None:
        self._process = process
        self._reader = reader
        self._writer = writer
        self._output = output

    @classmethod
    async def start(cls, program: Sequence[str], environment: Mapping[str, str]) -> Child:
        """Starts `program` with the descriptor of its end of the pipe as its last argument.

        Args:
            environment: its variables (`server.ipc.child_environment`), beside those by which it is found and kept
                quiet.

        Raises:
            OSError: no process or pipe can be had.
        """
        ours, theirs = socket.socketpair()
        # What it writes comes through here: one stream for both processes' lines, and it never waits for its reader.
        read, write = os.pipe()
        with theirs, os.fdopen(write, "wb") as written:
            try:
                process = await asyncio.create_subprocess_exec(
                    *program,
                    str(theirs.fileno()),
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=written,
                    stderr=written,
                    pass_fds=[theirs.fileno()],
                    cwd="/",  # the folder this one was started in may be gone
                    env={**_QUIET, **environment, "PYTHONPATH": os.pathsep.join([_HERE, *_PATH])},
                )
            except BaseException:
                ours.close()
                os.close(read)
                raise
        output = asyncio.create_task(_relay(read))
        reader, writer = await asyncio.open_unix_connection(sock=ours)
        return cls(process, reader, writer, output)

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
            while (message := await self.receive(FROM_WORKER)) is not None:
                yield message

    async def receive(self, kinds: Sequence[type[T]]) -> T | None:
        """The next message, one of `kinds`, or None when the process has closed its end.

        Raises:
            WireError: it sent what is no message.
            ConnectionError: it died with something of ours unread.
        """
        return await receive(self._reader, kinds)

    @property
    def is_open(self) -> bool:
        """Whether the process has not closed its end, as far as is known."""
        return not self._reader.at_eof()

    async def exited(self) -> None:
        """Waits until the process has ended."""
        await self._process.wait()

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
        await asyncio.wait({self._output}, timeout=_MOMENT_S)
        self._output.cancel()
        self._writer.transport.abort()  # not close(): nobody will read what was not sent
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()
        return status


async def _relay(descriptor: int) -> None:
    """Passes on the lines that come from a pipe, to its end."""
    stream = asyncio.StreamReader()
    pipe = os.fdopen(descriptor, "rb", buffering=0)  # the transport closes it
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(stream), pipe
    )
    try:
        rest = b""
        while chunk := await stream.read(_LINE_BYTES):
            *lines, rest = (rest + chunk).split(b"\n")
            if len(rest) > _LINE_BYTES:
                lines, rest = [*lines, rest], b""
            for line in lines:
                pass_on(line.decode(errors="replace").rstrip())
        if rest:
            pass_on(rest.decode(errors="replace").rstrip())
    finally:
        transport.close()
