"""Sends what is hostile, and sees what it costs: the status and the time of each refusal, and how long another client
waited meanwhile. It judges nothing."""

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
_REST_S = 0.2  # before each, so that what the last one left does not count for this one


@dataclass(frozen=True, kw_only=True, slots=True)
class Refusal:
    """What became of a message.

    Attributes:
        status: None where the connection ended without one.
        seconds: from the first byte sent, connection included, to the last of the answer.
    """

    name: str
    status: int | None
    seconds: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Stall:
    """What another client saw meanwhile.

    Attributes:
        waited_s: its longest wait for `/livez`.
    """

    name: str
    status: int | None
    waited_s: float


async def send_all(client: Client, messages: Mapping[str, Message]) -> list[Refusal]:
    """One after the other."""
    refusals = []
    for name, message in messages.items():
        reply = await client.exchange(message)
        refusals.append(Refusal(name=name, status=reply.status, seconds=reply.end - reply.sent))
    return refusals


async def stalls(client: Client, messages: Mapping[str, Message | Endless]) -> list[Stall]:
    """One after the other, each beside a client that probes; the first of them is no message but silence."""
    found = []
    async with probing(client) as waits:
        await asyncio.sleep(_QUIET_S)
    found.append(Stall(name="nothing", status=None, waited_s=waits.longest_s))
    for name, message in messages.items():
        async with probing(client) as waits:
            await asyncio.sleep(_REST_S)
            if isinstance(message, Endless):
                status = await _pour(client, message)
            else:
                status = (await client.exchange(message)).status
        found.append(Stall(name=name, status=status, waited_s=waits.longest_s))
    return found


async def _pour(client: Client, endless: Endless) -> int | None:
    """Sends for as long as the server takes it, or until it answers."""
    loop = asyncio.get_running_loop()
    async with connected(client) as one:
        answer = asyncio.create_task(loop.sock_recv(one, 4096))
        try:
            with contextlib.suppress(ConnectionError):
                await loop.sock_sendall(one, head(client, "POST /v1/vqa", endless.head.rstrip()))
                for piece in endless.pieces():
                    if answer.done():
                        break
                    await loop.sock_sendall(one, piece)
            with contextlib.suppress(ConnectionError):
                return status_of(await answer)
            return None
        finally:
            answer.cancel()
            await asyncio.gather(answer, return_exceptions=True)
