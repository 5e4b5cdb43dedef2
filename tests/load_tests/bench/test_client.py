"""The client against real sockets: responses, and what a server can do wrong."""

from __future__ import annotations

import asyncio
import socket
import ssl
import subprocess
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from load_tests.bench.client import Client, Message

QUESTION = Message(path="/v1/vqa", body=b'{"question": "what?"}')
Serving = Callable[..., AbstractAsyncContextManager[str]]
Response = Callable[..., bytes]


async def test_a_whole_exchange(serving: Serving, response: Response) -> None:
    received: list[tuple[bytes, bytes]] = []

    async def handler(head: bytes, body: bytes) -> bytes:
        received.append((head, body))
        return response(200, b"x" * 300_000, "X-Request-Id: abc")

    async with serving(handler) as url:
        reply = await Client(url, api_key="secret").exchange(QUESTION)
    assert (reply.status, reply.error) == (200, None)
    assert reply.body == b"x" * 300_000
    assert reply.headers["x-request-id"] == "abc"
    assert reply.received > len(reply.body)
    assert reply.first_byte is not None
    assert reply.sent <= reply.first_byte <= reply.end
    head, body = received[0]
    assert body == QUESTION.body
    assert head.startswith(b"POST /v1/vqa HTTP/1.1\r\n")
    lines = head.lower().split(b"\r\n")
    assert b"authorization: bearer secret" in lines
    assert b"connection: close" in lines


async def test_requests_do_not_wait_for_each_other(serving: Serving, response: Response) -> None:
    together = 0
    all_there = asyncio.Event()

    async def handler(head: bytes, body: bytes) -> bytes:
        nonlocal together
        together += 1
        if together == 20:
            all_there.set()
        await all_there.wait()
        return response(200)

    async with serving(handler) as url:
        client = Client(url)
        replies = await asyncio.gather(*(client.exchange(QUESTION) for _ in range(20)))
    assert [reply.status for reply in replies] == [200] * 20


async def test_a_refusal_is_a_reply(serving: Serving, response: Response) -> None:
    async def handler(head: bytes, body: bytes) -> bytes:
        return response(503, b'{"error": {}}', "Retry-After: 7")

    async with serving(handler) as url:
        reply = await Client(url).exchange(QUESTION)
    assert (reply.status, reply.error, reply.headers["retry-after"]) == (503, None, "7")


async def test_a_body_without_a_length_ends_with_the_connection(serving: Serving) -> None:
    async def handler(head: bytes, body: bytes) -> bytes:
        return b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nall of it"

    async with serving(handler) as url:
        reply = await Client(url).exchange(Message(method="GET", path="/metrics"))
    assert (reply.body, reply.error) == (b"all of it", None)


async def test_a_reset(serving: Serving) -> None:
    async def handler(head: bytes, body: bytes) -> None:
        return None

    async with serving(handler) as url:
        reply = await Client(url).exchange(QUESTION)
    assert (reply.status, reply.error, reply.first_byte) == (None, "reset", None)


@pytest.mark.parametrize(
    "sent", [b"", b"HTTP/1.1 200 OK\r\nContent-Le", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"]
)
async def test_a_reply_that_ends_too_early(serving: Serving, sent: bytes) -> None:
    async def handler(head: bytes, body: bytes) -> bytes:
        return sent

    async with serving(handler) as url:
        reply = await Client(url).exchange(QUESTION)
    assert reply.error == "cut"
    assert reply.received == len(sent)


async def test_what_is_not_http(serving: Serving) -> None:
    async def handler(head: bytes, body: bytes) -> bytes:
        return b"220 ready for mail\r\n\r\n"

    async with serving(handler) as url:
        reply = await Client(url).exchange(QUESTION)
    assert (reply.status, reply.error) == (None, "malformed")


async def test_a_server_that_says_nothing_is_given_up(serving: Serving) -> None:
    given_up = asyncio.Event()

    async def handler(head: bytes, body: bytes) -> bytes:
        await given_up.wait()
        return b""

    async with serving(handler) as url:
        reply = await Client(url, timeout_s=0.1).exchange(QUESTION)
        given_up.set()
    assert (reply.status, reply.error) == (None, "timeout")
    assert reply.end - reply.sent >= 0.1


async def test_connection_refused() -> None:
    with socket.socket() as one:  # bound but not listening, so that no other process has the port
        one.bind(("127.0.0.1", 0))
        reply = await Client(f"http://127.0.0.1:{one.getsockname()[1]}").exchange(QUESTION)
    assert (reply.status, reply.error) == (None, "connect")


@pytest.mark.parametrize("url", ["ftp://127.0.0.1:1", "127.0.0.1:80", "http://", "http://host/v1"])
def test_addresses_that_are_none_of_a_server(url: str) -> None:
    with pytest.raises(ValueError, match="give one such as"):
        Client(url)


async def test_when_each_piece_of_a_body_was_there(serving: Serving, response: Response) -> None:
    async def handler(head: bytes, body: bytes) -> bytes:
        return response(200, b"x" * 1_000_000)

    async with serving(handler) as url:
        reply = await Client(url).exchange(QUESTION)
    times, lengths = zip(*reply.pieces, strict=True)
    assert lengths[-1] == 1_000_000
    assert len(lengths) > 1
    assert list(lengths) == sorted(lengths)
    assert reply.first_byte is not None
    assert [reply.first_byte, *times, reply.end] == sorted([reply.first_byte, *times, reply.end])


async def test_https_is_spoken_to_those_whose_certificate_is_trusted(
    tmp_path: Path, response: Response, monkeypatch: pytest.MonkeyPatch, program: Callable[[str], str]
) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    request = [program("openssl"), "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    request += [
        "-subj",
        "/CN=localhost",
        "-addext",
        "subjectAltName=DNS:localhost,IP:127.0.0.1",
        "-keyout",
        str(key),
        "-out",
        str(certificate),
    ]
    subprocess.run(request, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"{}")
        writer.write(response(200, b"secret"))
        await writer.drain()

    server = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=context)
    async with server:
        url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        stranger = await Client(url).exchange(Message(path="/", body=b"{}"))
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        trusted = await Client(url).exchange(Message(path="/", body=b"{}"))
    assert (stranger.status, stranger.error) == (None, "connect")
    assert (trusted.status, trusted.body, trusted.error) == (200, b"secret", None)
