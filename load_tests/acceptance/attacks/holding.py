"""Held connections: as many as the server accepts, with trickling bodies; large bodies that never end; uploads while
the temporary folder is full; and many clients that read metrics."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence

import psutil

from load_tests.acceptance.attacks.pieces import judge as judge_livez
from load_tests.acceptance.attacks.rig import Rig
from load_tests.acceptance.crowd import crowd
from load_tests.acceptance.hostile import FORM, form, png
from load_tests.acceptance.probe import Waits, probing
from load_tests.acceptance.processes import front_end_of, resident, watched
from load_tests.acceptance.server_process import ServerProcess
from load_tests.acceptance.sockets import connected, head
from load_tests.acceptance.target import Target
from load_tests.bench.client import Client, Message

_HELD = 514  # two more than the server accepts by default
_FILLED_S = 1.5
_SECONDS = 8.0
_SUCCESS = 0.99
_PROBED = ("/livez", "/readyz", "/metrics")
_UNFINISHED = 60
_BODY = 20_000_000
_SENT = 19_000_000
_POURED_S, _SETTLED_S = 20.0, 0.5
_PAUSE_S = 3.0  # until memory has been released
_GROWTH_MB, _LEFT_MB = 400.0, 50.0
_SMALL_FOLDER = 1_000_000  # maximum bytes of a file
_UPLOADS = 8
_SIDE = 1200  # of a noise image: 4.3 MB
_SCRAPERS = 64
_SCRAPED_S = 3.0
_LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)
_JSON = "Content-Type: application/json"


async def run(rig: Rig) -> Sequence[Target]:
    with rig.server() as server:
        client = Client(server.base_url)
        found = [await scraped(client), *await hold(client)]
    with rig.server() as server:
        found += await unfinished(server.pid, Client(server.base_url))
    with rig.server() as server:
        found.append(await full_folder(server, Client(server.base_url)))
    return found


async def scraped(client: Client, seconds: float = _SCRAPED_S) -> Target:
    """`/livez` beside many clients that read `/metrics` repeatedly."""
    async with crowd(lambda _: _scrape(client), _SCRAPERS), probing(client, may_fail=True) as waits:
        await asyncio.sleep(seconds)
    return judge_livez("clients that read metrics", waits, clients=_SCRAPERS)


async def hold(client: Client, seconds: float = _SECONDS) -> list[Target]:
    """Whether probes succeed while one client holds all the connections it can get, and reconnects."""
    async with crowd(lambda _: _trickle(client), _HELD):
        await asyncio.sleep(_FILLED_S)
        async with contextlib.AsyncExitStack() as stack:
            seen: Mapping[str, Waits] = {
                path: await stack.enter_async_context(probing(client, path, may_fail=True)) for path in _PROBED
            }
            await asyncio.sleep(seconds)
    return [
        Target(
            name=f"{path} beside {_HELD} connections with bodies that trickle, success",
            unit="",
            limit=_SUCCESS,
            at_least=True,
            measured=waits.success,
            note=f"{waits.probes} probes"
            + "".join(f"; {failure}, {count} times" for failure, count in waits.failures.items()),
        )
        for path, waits in seen.items()
    ]


async def unfinished(pid: int, client: Client, *, count: int = _UNFINISHED, sent: int = _SENT) -> list[Target]:
    """Memory of the front end for large unfinished bodies, and after their senders have disconnected."""
    body = b'{"question": "' + b"x" * sent  # shared, so that the sender does not need as much memory as the server
    settled = [asyncio.Event() for _ in range(count)]
    async with watched(lambda: front_end_of(pid)) as memory:
        pouring = [asyncio.create_task(_pour(client, body, one)) for one in settled]
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(asyncio.gather(*(one.wait() for one in settled)), _POURED_S)
        await asyncio.sleep(_SETTLED_S)
        for one in pouring:
            one.cancel()
        await asyncio.gather(*pouring, return_exceptions=True)
    await asyncio.sleep(_PAUSE_S)
    left = resident(front_end_of(pid)) - memory.before
    what = f"{count} unfinished bodies of {_BODY // 10**6} MB"
    return [
        Target(name=f"growth of the front end by {what}", unit="MB", limit=_GROWTH_MB, measured=memory.grown / 1e6),
        Target(
            name=f"remaining {_PAUSE_S:g} s after they disconnected", unit="MB", limit=_LEFT_MB, measured=left / 1e6
        ),
    ]


async def full_folder(server: ServerProcess, client: Client) -> Target:
    """Uploads to a front end with a small file size limit, as with a full folder."""
    noise = os.urandom((3 * _SIDE + 1) * _SIDE)
    rows = b"".join(b"\0" + noise[row * 3 * _SIDE : (row + 1) * 3 * _SIDE] for row in range(_SIDE))
    message = Message(path="/v1/vqa", body=form(png(_SIDE, _SIDE, rows)), media=FORM)
    for process in front_end_of(server.pid):
        process.rlimit(psutil.RLIMIT_FSIZE, (_SMALL_FOLDER, _SMALL_FOLDER))
    replies = await asyncio.gather(*(client.exchange(message) for _ in range(_UPLOADS)))
    statuses = Counter(reply.status for reply in replies)
    return Target(
        name="uploads that fail with a full temporary folder",
        unit="",
        limit=0,
        measured=sum(count for status, count in statuses.items() if not _clean(status)),
        note="; ".join(f"{status}, {count} times" for status, count in statuses.items()),
    )


async def _scrape(client: Client) -> None:
    """Reads `/metrics` repeatedly on one connection, as Prometheus does, but without a pause."""
    reader, writer = await asyncio.open_connection(client.host, client.port)
    try:
        while True:
            writer.write(head(client, "GET /metrics"))
            headers = await reader.readuntil(b"\r\n\r\n")
            length = _LENGTH.search(headers)
            if length is None:
                return
            await reader.readexactly(int(length[1]))
    except asyncio.IncompleteReadError:
        return  # closed by the server
    finally:
        writer.transport.abort()


async def _trickle(client: Client) -> None:
    """Returns when the server closes the connection."""
    loop = asyncio.get_running_loop()
    async with connected(client) as one:
        await loop.sock_sendall(one, head(client, "POST /v1/vqa", _JSON, "Content-Length: 1000") + b"{")
        await loop.sock_recv(one, 4096)


async def _pour(client: Client, body: bytes, settled: asyncio.Event) -> None:
    """Sends most of a body and stays connected; `settled` is set once that is sent or a response has arrived."""
    loop = asyncio.get_running_loop()
    with contextlib.suppress(OSError):
        async with connected(client) as one:
            await loop.sock_sendall(one, head(client, "POST /v1/vqa", _JSON, f"Content-Length: {_BODY}"))
            sending = asyncio.ensure_future(loop.sock_sendall(one, body))
            answered = asyncio.ensure_future(loop.sock_recv(one, 4096))
            try:
                await asyncio.wait([sending, answered], return_when=asyncio.FIRST_COMPLETED)
                settled.set()
                await answered
            finally:
                settled.set()
                for task in (sending, answered):
                    task.cancel()
                await asyncio.gather(sending, answered, return_exceptions=True)


def _clean(status: int | None) -> bool:
    """Whether a response is a success, or a refusal with a clear status."""
    return status is not None and (200 <= status < 500 or status in (503, 507))
