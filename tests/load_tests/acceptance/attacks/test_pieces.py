"""Every attack sends what its name says, and a server that stalls misses its promise."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter

import pytest

from load_tests.acceptance.attacks.pieces import attacks, beside, judge
from load_tests.acceptance.probe import Waits
from load_tests.bench.client import Client, Message

_QUESTION = Message(path="/v1/vqa", body=b"x")


class Listener:
    """Answers `/livez`, and keeps the beginning of everything else it receives."""

    def __init__(self, stall_s: float = 0.0) -> None:
        self.received: list[bytes] = []
        self.stall_s = stall_s

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        said = b""
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while piece := await reader.read(1 << 16):
                if (
                    piece
                    == b"GET /livez HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nAccept-Encoding: identity\r\n\r\n"
                    % (writer.get_extra_info("sockname")[1])
                ):
                    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
                    continue
                said = (said + piece)[:100_000]
                time.sleep(self.stall_s)  # the loop of the server stands still
        self.received.append(said)
        writer.close()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("requests in a row", b"GET /livez"),
        ("streams read byte by byte", b'"stream": true'),
        ("headers byte by byte", b"X-1: a"),
        ("forms of empty parts", b'name="q"\r\n\r\n\r\n--a'),
        ("bodies in one-byte chunks", b"1\r\nA\r\n1\r\nA\r\n"),
    ],
)
async def test_each_sends_what_it_is_called_after(name: str, expected: bytes) -> None:
    listener = Listener()
    server = await asyncio.start_server(listener, "127.0.0.1", 0)
    async with server:
        client = Client(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(attacks()[name](client), 0.3)
        while not listener.received:
            await asyncio.sleep(0.01)
    assert expected in listener.received[0]


@pytest.mark.parametrize(("stall_s", "verdict"), [(0.0, "met"), (0.2, "missed")])
async def test_a_server_that_stands_still(stall_s: float, verdict: str) -> None:
    server = await asyncio.start_server(Listener(stall_s), "127.0.0.1", 0)
    async with server:
        client = Client(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")

        async def gentle(client: Client) -> None:
            await asyncio.wait_for(client.exchange(_QUESTION), 0.5)

        waits = await beside(client, gentle, 1.0)
    assert waits.probes > 2
    if verdict == "missed":  # how quick this machine is beside other tests says nothing
        assert judge("it", waits).verdict == verdict


def test_a_probe_that_fails_is_one_that_was_never_answered() -> None:
    assert judge("it", Waits(probes=100, p99_s=0.01)).verdict == "met"
    assert judge("it", Waits(probes=100, p99_s=0.2)).verdict == "missed"
    failed = judge("it", Waits(probes=100, p99_s=0.01, failures=Counter({"503": 1})))
    assert failed.verdict == "missed"
    assert "1 failed" in failed.note
