"""Growth is distinguished from noise and warm-up, and everything is sent and counted."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import psutil
import pytest

from load_tests.acceptance.soak import Held, Repertoire, Soak, soak
from load_tests.bench.client import Client, Message

MB = 1_000_000


def held(memory: Callable[[int], float], descriptors: Callable[[int], int] = lambda _: 20) -> Soak:
    """400 samples, 10 requests between each."""
    samples = [
        Held(requests=10 * second, memory=round(memory(second)), descriptors=descriptors(second), threads=8)
        for second in range(400)
    ]
    return Soak(held={"worker": samples})


def test_a_leak_is_found_below_noise() -> None:
    noise = random.Random(0)
    leak = held(lambda second: 300 * MB + second * 10 * 2000 + noise.uniform(0, 5 * MB))  # 2 MB for 1000 requests
    grown = leak.growth_per_1000("worker")
    assert grown == pytest.approx(2 * MB, rel=0.5)


def test_warming_up_and_peaks_are_no_growth() -> None:
    found = held(lambda second: 300 * MB + min(second, 150) * MB / 10 + (50 * MB if second % 20 == 0 else 0))
    assert found.growth_per_1000("worker") == 0


def test_descriptors_that_pile_up_show() -> None:
    assert held(lambda _: MB, lambda second: 20 + second // 100).more_at_the_end("worker", "descriptors") == 2
    assert held(lambda _: MB, lambda second: 20 + second % 3).more_at_the_end("worker", "descriptors") == 0


def test_too_little_says_nothing() -> None:
    found = Soak(held={"worker": [Held(requests=1, memory=1, descriptors=1, threads=1)]})
    assert found.growth_per_1000("worker") is None
    assert found.more_at_the_end("worker", "threads") is None


async def test_all_kinds_are_sent_and_every_answer_is_counted(
    serving: Callable[[Any], AbstractAsyncContextManager[str]], response: Callable[..., bytes]
) -> None:
    async def handle(head: bytes, body: bytes) -> bytes:
        return response(400 if body == b"bad" else 200)

    acted: list[str] = []

    async def act(client: Client) -> None:
        acted.append(client.host)
        await asyncio.sleep(60.0)  # it is given up

    repertoire = Repertoire(
        other=lambda _: Message(path="/v1/completions", body=b"other"),
        bad=[Message(path="/v1/vqa", body=b"bad")],
        odd=[act],
    )
    async with serving(handle) as url:
        found = await soak(Client(url), {"server": psutil.Process()}, repertoire, seconds=3.0, seed=0)
    assert set(found.sent) == {"vqa", "generate", "other", "bad", "odd", "left"}
    assert len(acted) == found.sent["odd"]
    assert found.statuses[400] == found.sent["bad"]
    assert found.statuses[None] == 0
    assert found.statuses[200] >= found.sent["vqa"] + found.sent["generate"] + found.sent["other"]
    assert found.held["server"]
    assert found.held["server"][-1].memory > MB
    written = found.to_json()
    assert written["statuses"]["400"] == found.sent["bad"]
    assert len(written["held"]["server"]) == len(found.held["server"])
