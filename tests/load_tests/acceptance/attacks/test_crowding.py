"""Other clients' requests are counted, on servers that favour the attacker and on servers that do not."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from load_tests.acceptance.attacks import crowding
from load_tests.bench.client import Client

Serving = Callable[[Any], AbstractAsyncContextManager[str]]
Response = Callable[..., bytes]


@pytest.mark.parametrize(("small", "verdict"), [(200, "met"), (503, "missed")])
async def test_small_requests_beside_a_giant(serving: Serving, response: Response, small: int, verdict: str) -> None:
    never = asyncio.Event()

    async def handle(head: bytes, body: bytes) -> bytes:
        if json.loads(body).get("n") == 8:
            await never.wait()
        return response(small)

    async with serving(handle) as url:
        target = await crowding.giant(Client(url), 1.0)
        never.set()
    assert target.verdict == verdict
    assert "the large one runs" in target.note


@pytest.mark.parametrize(("victims", "verdict"), [(200, "met"), (504, "missed")])
async def test_a_flood_of_the_best_priority(serving: Serving, response: Response, victims: int, verdict: str) -> None:
    async def handle(head: bytes, body: bytes) -> bytes:
        await asyncio.sleep(0.02)
        return response(400 if "priority" in json.loads(body) else victims)

    async with serving(handle) as url:
        target = await crowding.urgent(Client(url), 0.5)
    assert target.verdict == verdict
    assert "the flood: 400" in target.note


@pytest.mark.parametrize(("slower", "verdict"), [(1.0, "met"), (3.0, "missed")])
async def test_acceptance_that_costs(serving: Serving, response: Response, slower: float, verdict: str) -> None:
    attacked = asyncio.Event()

    async def handle(head: bytes, body: bytes) -> bytes:
        if b"/metrics" in head:
            return response(200, b"flashu_worker_restarts_total 0.0\n")
        if b"max_new_tokens" in body:
            attacked.set()
            return response(504)
        await asyncio.sleep(0.1 * (slower if attacked.is_set() else 1.0))
        return response(200)

    async with serving(handle) as url:
        share, restarts = await crowding.free_acceptance(Client(url), 0, quiet_s=1.0, seconds=1.0)
    assert share.verdict == verdict
    assert restarts.verdict == "met"


async def test_a_question_that_waits_behind_long_answers(
    serving: Serving, response: Response, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crowding, "_POISON", 16)
    monkeypatch.setattr(crowding, "_MAX_QUEUE_S", 0.0)
    monkeypatch.setattr(crowding, "_MARGIN_S", 0.3)

    async def handle(head: bytes, body: bytes) -> bytes:
        if b"image" in body:  # the victim's
            await asyncio.sleep(0.5)
        elif b'"temperature": 10.0' in body:
            return response(503)
        return response(200)

    async with serving(handle) as url:
        target = await crowding.poisoned(Client(url))
    assert target.verdict == "missed"
    assert target.measured is not None
    assert target.measured >= 0.5
    assert "of 200 long ones let in" in target.note
