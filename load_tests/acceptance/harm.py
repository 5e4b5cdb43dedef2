"""Sends hostile requests and measures status and time of each rejection, and another client's longest wait
meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from dataclasses import dataclass

from load_tests.acceptance.hostile import Endless
from load_tests.acceptance.probe import probing
from load_tests.acceptance.sockets import connected, head, status_of
from load_tests.bench.client import Client, Message

_QUIET_S = 2.0
_PAUSE_S = 0.2  # before each, so that the previous one does not affect it


@dataclass(frozen=True, kw_only=True, slots=True)
class Refusal:
    """The response to a message.

    Attributes:
        status: None if the connection ended without one.
        seconds: from connecting to the last byte of the response.
    """

    name: str
    status: int | None
    seconds: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Stall:
    """Another client's wait meanwhile.

    Attributes:
        waited_s: its longest wait for `/livez`.
    """

    name: str
    status: int | None
    waited_s: float


async def send_all(client: Client, messages: Mapping[str, Message]) -> list[Refusal]:
    """Sends messages one after the other."""
    refusals = []
    for name, message in messages.items():
        reply = await client.exchange(message)
        refusals.append(Refusal(name=name, status=reply.status, seconds=reply.end - reply.sent))
    return refusals


async def stalls(client: Client, messages: Mapping[str, Message | Endless]) -> list[Stall]:
    """Sends messages one after the other beside a client that probes; the first entry is the idle server."""
    found = []
    async with probing(client) as waits:
        await asyncio.sleep(_QUIET_S)
    found.append(Stall(name="idle", status=None, waited_s=waits.longest_s))
    for name, message in messages.items():
        async with probing(client) as waits:
            await asyncio.sleep(_PAUSE_S)
            if isinstance(message, Endless):
                status = await _pour(client, message)
            else:
                status = (await client.exchange(message)).status
        found.append(Stall(name=name, status=status, waited_s=waits.longest_s))
    return found


async def _pour(client: Client, endless: Endless) -> int | None:
    """Sends until the server stops reading or responds."""
    loop = asyncio.get_running_loop()
    async with connected(client) as one:
        response = asyncio.create_task(loop.sock_recv(one, 4096))
        try:
            with contextlib.suppress(ConnectionError):
                await loop.sock_sendall(one, head(client, "POST /v1/vqa", endless.head.rstrip()))
                for piece in endless.pieces():
                    if response.done():
                        break
                    await loop.sock_sendall(one, piece)
            with contextlib.suppress(ConnectionError):
                return status_of(await response)
            return None
        finally:
            response.cancel()
            await asyncio.gather(response, return_exceptions=True)
