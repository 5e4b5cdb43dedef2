"""Timed HTTP/1.1 exchanges: h11 over asyncio's streams. Never raises for what a server does: a reset is a result too.

Every request has its own connection, as from independent clients: none waits for another's connection, and none is lost
because the server closes an idle one. h11 over streams takes half a millisecond of CPU time per request, a third of
httpx, and the server needs the same cores.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import urlsplit

import h11

BrokenBy = Literal["connect", "reset", "cut", "timeout", "malformed"]
_CHUNK = 256 * 1024
_PORTS: Mapping[str, int] = {"http": 80, "https": 443}


@dataclass(frozen=True, kw_only=True, slots=True)
class Message:
    """A request; `key` is the sender's own name for it and is not sent."""

    path: str
    body: bytes = b""
    method: Literal["GET", "POST"] = "POST"
    media: str = "application/json"
    key: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reply:
    """A response, as far as it arrived.

    Attributes:
        sent: start of the exchange, before the connection was opened; like `first_byte` and `end` in seconds of the
            event loop's clock.
        first_byte: None if nothing arrived.
        status: None if none arrived.
        received: bytes, headers included.
        pieces: pairs of a time and the length of the body by then, in order.
        error: what broke the exchange; None if it ended as HTTP requires.
    """

    sent: float
    first_byte: float | None
    end: float
    status: int | None
    received: int
    headers: Mapping[str, str]
    body: bytes
    error: BrokenBy | None
    pieces: Sequence[tuple[float, int]] = ()


@dataclass(slots=True)
class _Arrived:
    """The part of a response that has arrived, so that a timeout keeps it."""

    first_byte: float | None = None
    status: int | None = None
    received: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytearray = field(default_factory=bytearray)
    pieces: list[tuple[float, int]] = field(default_factory=list)
    broken: BrokenBy = "connect"  # meaning of a socket error at this point


class Client:
    """Sends messages to one server.

    Args:
        base_url: such as `http://127.0.0.1:8000`; for https, certificates are verified with Python's defaults.
        api_key: sent as a bearer token.
        timeout_s: seconds until a request is abandoned.

    Raises:
        ValueError: `base_url` is not the URL of a server, without a path.
    """

    def __init__(self, base_url: str, *, api_key: str | None = None, timeout_s: float = 60.0) -> None:
        parts = urlsplit(base_url)
        if parts.scheme not in _PORTS or not parts.hostname or parts.path not in ("", "/"):
            raise ValueError(f"the server's address is {base_url!r}; give one such as http://127.0.0.1:8000")
        self.host = parts.hostname
        self.port = parts.port or _PORTS[parts.scheme]
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None
        self._timeout_s = timeout_s
        self._headers = [("host", parts.netloc), ("connection", "close"), ("user-agent", "flashu-load-tests")]
        if api_key:
            self._headers.append(("authorization", f"Bearer {api_key}"))

    async def exchange(self, message: Message) -> Reply:
        """Sends a message and waits for the complete response."""
        loop = asyncio.get_running_loop()
        sent = loop.time()
        arrived = _Arrived()
        error: BrokenBy | None = None
        try:
            await asyncio.wait_for(self._exchange(message, arrived), self._timeout_s)
        except asyncio.TimeoutError:
            error = "timeout"
        except h11.RemoteProtocolError:
            error = arrived.broken if arrived.broken == "cut" else "malformed"
        except OSError:
            error = arrived.broken
        return Reply(
            sent=sent,
            first_byte=arrived.first_byte,
            end=loop.time(),
            status=arrived.status,
            received=arrived.received,
            headers=arrived.headers,
            body=bytes(arrived.body),
            error=error,
            pieces=tuple(arrived.pieces),
        )

    async def _exchange(self, message: Message, arrived: _Arrived) -> None:
        reader, writer = await asyncio.open_connection(self.host, self.port, ssl=self._tls)
        arrived.broken = "reset"
        try:
            connection = h11.Connection(h11.CLIENT)
            writer.write(self._encode(connection, message))
            await self._read(reader, connection, arrived)
        finally:
            writer.transport.abort()  # done; a timeout must not wait for the peer

    def _encode(self, connection: h11.Connection, message: Message) -> bytes:
        headers = list(self._headers)
        if message.body:
            headers += [("content-type", message.media), ("content-length", str(len(message.body)))]
        head = connection.send(h11.Request(method=message.method, target=message.path, headers=headers)) or b""
        body = (connection.send(h11.Data(data=message.body)) or b"") if message.body else b""
        return head + body + (connection.send(h11.EndOfMessage()) or b"")

    async def _read(self, reader: asyncio.StreamReader, connection: h11.Connection, arrived: _Arrived) -> None:
        while True:
            event = connection.next_event()
            if event is h11.NEED_DATA:
                data = await reader.read(_CHUNK)
                if data and arrived.first_byte is None:
                    arrived.first_byte = asyncio.get_running_loop().time()
                if not data:
                    arrived.broken = "cut"
                arrived.received += len(data)
                connection.receive_data(data)
            elif isinstance(event, h11.Response):
                arrived.status = event.status_code
                arrived.headers = {name.decode(): value.decode("latin-1") for name, value in event.headers}
            elif isinstance(event, h11.Data):
                arrived.body += event.data
                arrived.pieces.append((asyncio.get_running_loop().time(), len(arrived.body)))
            elif isinstance(event, (h11.EndOfMessage, h11.ConnectionClosed)):
                return
