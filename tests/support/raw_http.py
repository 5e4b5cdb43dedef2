"""HTTP as bytes on a socket, for tests of what no client library would send."""

from __future__ import annotations

import contextlib
import json
import socket
from typing import Any

TIMEOUT_S = 60.0
POST = b"POST /read HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
OK = b"GET /ok HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


def rest_of(client: socket.socket) -> bytes:
    """All that comes until the server closes."""
    parts = []
    with contextlib.suppress(ConnectionError):
        while part := client.recv(65536):
            parts.append(part)
    return b"".join(parts)


def error_of(answer: bytes, status: int) -> dict[str, Any]:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(f"HTTP/1.1 {status}".encode()), answer
    assert b"connection: close" in head.lower()
    error: dict[str, Any] = json.loads(body)["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return error


def exchange(served: Any, sent: bytes, source: str = "127.0.0.1") -> bytes:
    with served.connect(source) as client:
        with contextlib.suppress(ConnectionError):
            client.sendall(sent)
        return rest_of(client)
