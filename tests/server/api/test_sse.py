"""The response itself, as an ASGI application: when its status is decided, pings, errors and lost clients."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from flashu_core import InvalidRequestError
from server.api.sse import EventStream, server_event
from server.errors import ClientGoneError
from server.request_record import record_of


class Client:
    """What an ASGI server would be to the response; `leave` ends the connection."""

    def __init__(self, *, reads: bool = True) -> None:
        self.scope: dict[str, Any] = {"type": "http", "state": {}}
        self.sent: list[dict[str, Any]] = []
        self.leave = asyncio.Event()
        self.reads = reads

    async def receive(self) -> dict[str, Any]:
        await self.leave.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.body" and not self.reads:
            await asyncio.Event().wait()
        self.sent.append(message)

    async def get(self, stream: EventStream) -> bytes:
        await stream(self.scope, self.receive, self.send)
        return self.body

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.sent)


class Source:
    """Yields events, then waits, fails or ends; knows whether it was closed."""

    def __init__(self, *pieces: bytes, then: Exception | None = None, waits: bool = False) -> None:
        self.pieces, self.then, self.waits = pieces, then, waits
        self.closed = False

    async def events(self) -> AsyncGenerator[bytes, None]:
        try:
            for piece in self.pieces:
                yield piece
            if self.waits:
                await asyncio.Event().wait()
            if self.then is not None:
                raise self.then
        finally:
            self.closed = True


async def test_events_are_sent_one_by_one_and_the_stream_ends() -> None:
    source, client = Source(server_event("1", "a"), server_event("2")), Client()
    assert await client.get(EventStream(source.events())) == b"event: a\ndata: 1\n\ndata: 2\n\n"
    start, *bodies = client.sent
    assert start["status"] == 200
    headers = dict(start["headers"])
    assert headers[b"content-type"] == b"text/event-stream; charset=utf-8"
    assert b"content-length" not in headers
    assert [body["more_body"] for body in bodies] == [True, True, False]
    assert source.closed


async def test_what_fails_first_is_an_ordinary_error() -> None:
    source, client = Source(then=InvalidRequestError("no", parameter="size")), Client()
    with pytest.raises(InvalidRequestError):
        await client.get(EventStream(source.events()))
    assert client.sent == []
    assert source.closed


async def test_what_fails_later_is_an_event() -> None:
    invalid = InvalidRequestError("no", parameter="size")
    for error, status, code in [(invalid, 400, "invalid_value"), (ValueError("/secret"), 500, "internal_error")]:
        client = Client()
        body = await client.get(EventStream(Source(server_event("1"), then=error).events()))
        first, failure, end = body.decode().split("\n\n")
        assert (first, end) == ("data: 1", "")
        name, data = failure.split("\n")
        assert name == "event: error"
        shown = json.loads(data.removeprefix("data: "))["error"]
        assert shown["code"] == code
        record = record_of(client.scope)
        assert (record.error_status, record.error_code) == (status, code)
        assert "secret" not in shown["message"]
        assert client.sent[-1]["more_body"] is False


async def test_a_silent_stream_begins_and_is_kept_alive() -> None:
    source, client = Source(waits=True), Client()
    getting = asyncio.create_task(client.get(EventStream(source.events(), ping_s=0.01)))
    while client.body.count(b": ping\n\n") < 3:
        await asyncio.sleep(0.005)
    assert client.sent[0]["status"] == 200
    client.leave.set()
    await getting
    assert source.closed
    assert record_of(client.scope).error_status == 499


async def test_a_client_that_leaves_closes_the_source() -> None:
    source, client = Source(waits=True), Client()
    getting = asyncio.create_task(client.get(EventStream(source.events())))
    await asyncio.sleep(0.01)
    client.leave.set()
    with pytest.raises(ClientGoneError):  # nothing was sent yet, so the status can still tell
        await getting
    assert source.closed

    source, client = Source(server_event("1"), waits=True), Client()
    getting = asyncio.create_task(client.get(EventStream(source.events())))
    while not client.body:
        await asyncio.sleep(0.005)
    client.leave.set()
    await getting
    assert source.closed


async def test_a_client_that_reads_nothing_is_cut_off() -> None:
    source, client = Source(server_event("1"), waits=True), Client(reads=False)
    await client.get(EventStream(source.events(), send_s=0.01))
    assert source.closed
    assert record_of(client.scope).error_status == 499
    assert [message["type"] for message in client.sent] == ["http.response.start"]


async def test_a_cancelled_response_closes_the_source() -> None:
    source, client = Source(server_event("1"), waits=True), Client()
    getting = asyncio.create_task(client.get(EventStream(source.events())))
    while not client.body:
        await asyncio.sleep(0.005)
    getting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await getting
    assert source.closed
