"""Rejections are timed, and endless bodies stop at a response."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

from load_tests.acceptance.harm import send_all, stalls
from load_tests.acceptance.hostile import Endless
from load_tests.bench.client import Client, Message

Serving = Callable[[Any], AbstractAsyncContextManager[str]]


async def test_messages_are_sent_one_by_one_and_timed(serving: Serving, response: Callable[..., bytes]) -> None:
    under_way: list[int] = [0]

    async def refuse(head: bytes, body: bytes) -> bytes:
        under_way[0] += 1
        assert under_way[0] == 1
        await asyncio.sleep(0.05)
        under_way[0] -= 1
        return response(json.loads(body)["wanted"])

    async with serving(refuse) as url:
        messages = {
            str(status): Message(path="/v1/vqa", body=json.dumps({"wanted": status}).encode()) for status in (400, 413)
        }
        found = await send_all(Client(url), messages)
    assert [(one.name, one.status) for one in found] == [("400", 400), ("413", 413)]
    assert all(one.seconds >= 0.05 for one in found)


async def test_a_body_without_end_ends_with_the_answer() -> None:
    taken: list[int] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.readuntil(b"\r\n\r\n"):
            if head.startswith(b"POST"):
                taken.append(len(await reader.readexactly(1_000_000)))
                writer.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                await writer.drain()
                await asyncio.sleep(0.1)
                break
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        writer.close()

    server = await asyncio.start_server(_quietly(handle), "127.0.0.1", 0)
    async with server:
        client = Client(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        quiet, much = await stalls(client, {"much": Endless(head="Content-Length: 1000000000\r\n", piece=b"x" * 65536)})
    assert (quiet.name, quiet.status) == ("idle", None)
    assert (much.name, much.status) == ("much", 413)
    assert taken == [1_000_000]
    assert 0 < quiet.waited_s < 60
    assert 0 < much.waited_s < 60


def _quietly(handle: Any) -> Any:
    async def handled(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await handle(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            writer.close()

    return handled
