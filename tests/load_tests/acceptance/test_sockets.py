"""Bytes on a raw socket, and the status read from it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

from load_tests.acceptance.sockets import head, status_of, talk
from load_tests.bench.client import Client


async def test_bytes_are_sent_as_they_are(
    serving: Callable[[Any], AbstractAsyncContextManager[str]], response: Callable[..., bytes]
) -> None:
    requests: list[bytes] = []

    async def handle(received: bytes, body: bytes) -> bytes | None:
        requests.append(received + body)
        return response(418) if len(requests) == 1 else None

    async with serving(handle) as url:
        client = Client(url)
        request = head(client, "POST /odd", "X-One: 1", "Content-Length: 2") + b"ab"
        assert await talk(client, request) == 418
        assert requests == [
            b"POST /odd HTTP/1.1\r\nHost: %s\r\nX-One: 1\r\nContent-Length: 2\r\n\r\nab" % url[7:].encode()
        ]
        assert await talk(client, request) is None  # it was reset
    assert await talk(client, request) is None  # closed port


def test_what_is_no_status() -> None:
    assert status_of(b"HTTP/1.1 204 No Content\r\n\r\n") == 204
    assert status_of(b"") is None
    assert status_of(b"hello") is None
