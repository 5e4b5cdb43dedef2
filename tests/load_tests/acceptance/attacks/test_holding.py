"""Probes beside held connections are counted; memory of unfinished bodies is measured."""

from __future__ import annotations

import asyncio
import contextlib
import mmap
import os
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from load_tests.acceptance.attacks import holding
from load_tests.bench.client import Client

Serving = Callable[[Any], AbstractAsyncContextManager[str]]
ALIVE = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
BUSY = b"HTTP/1.1 503 Busy\r\nContent-Length: 2\r\n\r\n{}"


@pytest.mark.parametrize(("answer", "verdict"), [(ALIVE, "met"), (BUSY, "missed")])
async def test_probes_beside_held_connections(answer: bytes, verdict: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(holding, "_HELD", 20)
    monkeypatch.setattr(holding, "_FILLED_S", 0.2)
    held: list[int] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            if head.startswith(b"POST"):
                held.append(1)
                await reader.read()  # until the client leaves
                held.pop()
            else:
                writer.write(answer if len(held) >= 20 else ALIVE)
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with server:
        client = Client(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        targets = await holding.hold(client, 0.5)
    assert [target.name.partition(" ")[0] for target in targets] == ["/livez", "/readyz", "/metrics"]
    assert {target.verdict for target in targets} == {verdict}


@pytest.mark.parametrize("kept", [True, False])
async def test_bodies_that_are_kept_show(kept: bool) -> None:
    # Not from the allocator, which may have as much that other tests gave back to it.
    stores: list[mmap.mmap] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        store = mmap.mmap(-1, 21_000_000)
        stores.append(store)
        with contextlib.suppress(OSError):
            while piece := await reader.read(1 << 16):
                if kept:
                    store.write(piece)
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with server:
        client = Client(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        grown, left = await holding.unfinished(os.getpid(), client, count=4, sent=20_000_000)
    assert grown.measured is not None
    assert left.measured is not None
    assert (grown.measured > 60) == kept
    assert (left.verdict == "missed") == kept
