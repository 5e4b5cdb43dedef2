"""Single bytes: bodies in one-byte chunks, headers byte by byte, long pipelines of requests, streams read byte by byte.
They cost the sender little and must not slow down other clients."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Awaitable, Callable, Mapping, Sequence

from load_tests.acceptance.attacks.rig import Rig
from load_tests.acceptance.crowd import crowd
from load_tests.acceptance.probe import Waits, probing
from load_tests.acceptance.server_process import ServerProcess
from load_tests.acceptance.sockets import connected, head
from load_tests.acceptance.target import Target
from load_tests.bench.client import Client

_CLIENTS = 8
_SECONDS = 3.0
_FIRST_S = 0.3  # until all clients have started
_P99_S = 0.1
_SHUTDOWN_S = 2
_ENDED_S = _SHUTDOWN_S + 1.0
_JSON = "Content-Type: application/json"
_CHUNKED = "Transfer-Encoding: chunked"
_BLOCK = b"1\r\nA\r\n" * 20_000
_ROW = 200  # pipelined requests
_FORM = "Content-Type: multipart/form-data; boundary=a"
_PART = b'--a\r\nContent-Disposition: form-data; name="q"\r\n\r\n\r\n'
_STREAM = json.dumps({"prompt": "a", "stream": True, "partial_images": 3, "num_inference_steps": 200}).encode()
Act = Callable[[Client], Awaitable[None]]


async def run(rig: Rig) -> Sequence[Target]:
    with rig.server("--shutdown-timeout", str(_SHUTDOWN_S)) as server:
        client = Client(server.base_url)
        found = [judge(name, await beside(client, act)) for name, act in attacks().items()]
        return [*found, await end_beside(server, client)]


def attacks() -> Mapping[str, Act]:
    """What a client repeats."""
    return {
        "requests in a row": _row,
        "streams read byte by byte": _stream,
        "headers byte by byte": _headers,
        "forms of empty parts": _parts,
        "bodies in one-byte chunks": _chunks,
    }


async def beside(client: Client, act: Act, seconds: float = _SECONDS) -> Waits:
    """Another client's waits for `/livez` meanwhile."""
    async with crowd(lambda _: act(client), _CLIENTS):
        await asyncio.sleep(_FIRST_S)
        async with probing(client, may_fail=True) as waits:
            await asyncio.sleep(seconds)
    return waits


def judge(name: str, waits: Waits, *, clients: int = _CLIENTS) -> Target:
    """A failed probe misses the promise."""
    failed = waits.failures.total()
    return Target(
        name=f"/livez beside {name}, p99",
        unit="s",
        limit=_P99_S,
        measured=None if failed else waits.p99_s,
        note=f"{clients} clients; {waits.probes} probes" + (f", {failed} failed" if failed else ""),
    )


async def end_beside(server: ServerProcess, client: Client) -> Target:
    """SIGTERM while bodies arrive in one-byte chunks."""
    async with crowd(lambda _: _chunks(client), _CLIENTS):
        await asyncio.sleep(_FIRST_S)
        return await ended(server, "one-byte chunks", _ENDED_S)


async def ended(server: ServerProcess, beside: str, limit: float) -> Target:
    """Sends SIGTERM, and kills the server if it does not exit."""
    loop = asyncio.get_running_loop()
    begun = loop.time()
    os.kill(server.pid, signal.SIGTERM)
    status = await asyncio.to_thread(server.wait, 3 * limit)
    seconds = loop.time() - begun
    if status is None:
        server.kill()
    return Target(
        name=f"SIGTERM beside {beside}: ended",
        unit="s",
        limit=limit,
        measured=seconds if status is not None else None,
        note="" if status == 0 else f"killed after {seconds:.1f} s" if status is None else f"status {status}",
    )


async def _chunks(client: Client) -> None:
    loop = asyncio.get_running_loop()
    async with connected(client) as one:
        await loop.sock_sendall(one, head(client, "POST /v1/vqa", _JSON, _CHUNKED))
        while True:
            await loop.sock_sendall(one, _BLOCK)


async def _parts(client: Client) -> None:
    loop = asyncio.get_running_loop()
    block = b"%x\r\n" % len(_PART * 1000) + _PART * 1000 + b"\r\n"
    async with connected(client) as one:
        await loop.sock_sendall(one, head(client, "POST /v1/vqa", _FORM, _CHUNKED))
        while True:
            await loop.sock_sendall(one, block)


async def _headers(client: Client) -> None:
    loop = asyncio.get_running_loop()
    async with connected(client) as one:
        for byte in head(client, "GET /livez", *(f"X-{number}: a" for number in range(500))):
            await loop.sock_sendall(one, bytes([byte]))
            await asyncio.sleep(0)  # yield to the other clients


async def _row(client: Client) -> None:
    loop = asyncio.get_running_loop()
    async with connected(client) as one:
        await loop.sock_sendall(one, head(client, "GET /livez") * _ROW)
        while await loop.sock_recv(one, 65536):
            pass


async def _stream(client: Client) -> None:
    loop = asyncio.get_running_loop()
    async with connected(client, receive_buffer=4096) as one:
        request = head(client, "POST /v1/generate", _JSON, f"Content-Length: {len(_STREAM)}") + _STREAM
        await loop.sock_sendall(one, request)
        while await loop.sock_recv(one, 1):
            await asyncio.sleep(0)
