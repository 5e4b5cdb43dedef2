"""A small raw-socket server that does what a test specifies, resets and silence included, and records made by hand."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from flashu_core.types import Task
from load_tests.bench.record import Record

Handler = Callable[[bytes, bytes], Awaitable["bytes | None"]]


async def _read(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    head = await reader.readuntil(b"\r\n\r\n")
    length = next((line.split(b":")[1] for line in head.lower().split(b"\r\n") if line.startswith(b"content-l")), b"0")
    return head, await reader.readexactly(int(length))


def _reset(writer: asyncio.StreamWriter) -> None:
    raw = writer.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


@pytest.fixture
def serving() -> Callable[[Handler], AbstractAsyncContextManager[str]]:
    """Serves with a handler of head and body: what it returns is written, and nothing resets the connection, which is
    closed in any case. Gives the address."""

    @contextlib.asynccontextmanager
    async def serve(handler: Handler) -> AsyncIterator[str]:
        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                reply = await handler(*await _read(reader))
                if reply is None:
                    _reset(writer)
                else:
                    writer.write(reply)
            except (OSError, asyncio.IncompleteReadError):
                pass  # the client left
            finally:
                writer.close()

        server = await asyncio.start_server(handle, "127.0.0.1", 0)
        async with server:
            yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"

    return serve


@pytest.fixture
def response() -> Callable[..., bytes]:
    """Makes the bytes of a whole response."""

    def make(status: int, body: bytes = b"{}", *headers: str) -> bytes:
        lines = [f"HTTP/1.1 {status} Words", f"Content-Length: {len(body)}", "Connection: close", *headers]
        return "\r\n".join(lines).encode() + b"\r\n\r\n" + body

    return make


@pytest.fixture
def answer() -> Callable[..., bytes]:
    """Makes a body as the native routes write it, as far as the client reads it."""

    def make(task: Task, engine_ms: float = 20.0) -> bytes:
        timings = {"queue": 1.0, "total": engine_ms, "backbone": 8.0, "head": 4.0, "guidance": 1.0, "features": 3.0}
        schedule = {"evaluations": 8} if task == "generate" else {}
        return json.dumps({"timings_ms": timings, "schedule": schedule}).encode()

    return make


@pytest.fixture
def made() -> Callable[..., Record]:
    """Makes a record: of an answer completed within a second, but for what is changed."""

    def make(**changes: Any) -> Record:
        values: dict[str, Any] = {
            "phase": "mixed",
            "task": "vqa",
            "counted": True,
            "scheduled": 0.0,
            "sent": 0.0,
            "first_byte": 1.0,
            "end": 1.0,
            "status": 200,
            "received": 100,
        }
        return Record(**{**values, **changes})

    return make
