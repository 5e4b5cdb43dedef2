"""A stall is measured from another process, and a server that is gone is reported."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from load_tests.acceptance.probe import probing
from load_tests.bench.client import Client

STALL_S = 0.3


async def _alive(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers every request on the connection."""
    while await reader.readline():
        while (await reader.readline()).strip():
            pass
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
    writer.close()


async def test_a_stall_is_seen_as_long_as_it_was() -> None:
    server = await asyncio.start_server(_alive, "127.0.0.1", 0)
    async with server:
        client = Client(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        async with probing(client) as waits:
            await asyncio.sleep(0.2)
            time.sleep(STALL_S)  # the loop of the server stands still
            await asyncio.sleep(0.1)
    assert waits.probes > 10
    assert waits.longest_s >= STALL_S * 0.9
    assert waits.median_s < STALL_S / 2


async def test_a_failed_probe_is_reported(
    serving: Callable[[Any], AbstractAsyncContextManager[str]], response: Callable[..., bytes]
) -> None:
    async def ill(head: bytes, body: bytes) -> bytes:
        return response(500)

    async with serving(ill) as url:
        with pytest.raises(RuntimeError, match="/livez responded with 500"):
            async with probing(Client(url)):
                pass
