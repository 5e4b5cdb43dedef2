"""Slow clients are slow in three ways; trickling ones notice that they are cut off, and reconnect."""

from __future__ import annotations

import asyncio

from load_tests.acceptance.slow import SlowClients
from load_tests.bench.client import Client


class Strict:
    """A server that closes every connection after a while, and keeps what it received."""

    def __init__(self, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        self.received: list[bytes] = []

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ends = asyncio.get_running_loop().time() + self.timeout_s
        said = bytearray()
        try:
            while (left := ends - asyncio.get_running_loop().time()) > 0:
                piece = await asyncio.wait_for(reader.read(1 << 16), left)
                said += piece
                if not piece:
                    break
        except (asyncio.TimeoutError, OSError):
            pass
        self.received.append(bytes(said))
        writer.close()


async def test_they_are_cut_off_and_come_back() -> None:
    overdue = Strict(0.2)
    server = await asyncio.start_server(overdue, "127.0.0.1", 0)
    async with server:
        slow = SlowClients(Client(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"), byte_every_s=0.02)
        async with slow.beside(5):
            while min(slow.cut.values()) < 4:  # two of each kind, so they came back
                await asyncio.sleep(0.02)
    assert all(seconds >= 0.15 for seconds in slow.longest_s.values())
    headers = [said for said in overdue.received if b"X-Slow: " in said]
    bodies = [said for said in overdue.received if b"Content-Length: 1000000" in said]
    reads = [said for said in overdue.received if b"/openapi.json" in said]
    assert headers
    assert all(b"\r\n\r\n" not in said for said in headers)
    assert all(len(said.partition(b"\r\n\r\n")[2]) < 100 for said in bodies)
    assert all(said.count(b"GET") > 1 for said in reads)
    assert min(len(headers), len(bodies)) >= 4
    assert len(reads) == slow.readers == 1


async def test_one_that_is_never_cut_off_is_seen() -> None:
    never = asyncio.Event()

    async def patient(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await never.wait()
        writer.close()

    server = await asyncio.start_server(patient, "127.0.0.1", 0)
    async with server:
        slow = SlowClients(Client(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"), byte_every_s=0.02)
        async with slow.beside(3):
            await asyncio.sleep(0.3)
        never.set()
    assert slow.cut == {"headers": 0, "body": 0}
    assert all(seconds >= 0.25 for seconds in slow.longest_s.values())
