"""A crowd acts until its block ends; it ignores broken connections and raises other errors."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from load_tests.acceptance.crowd import crowd


async def test_each_acts_again_and_again() -> None:
    acted: Counter[int] = Counter()

    async def act(number: int) -> None:
        acted[number] += 1
        if number == 1:
            raise ConnectionResetError

    async with crowd(act, 3):
        while len(acted) < 3 or min(acted.values()) < 3:
            await asyncio.sleep(0.01)
    ended = dict(acted)
    await asyncio.sleep(0.05)
    assert acted == ended


async def test_a_mistake_is_raised() -> None:
    async def act(number: int) -> None:
        raise KeyError(number)

    with pytest.raises(KeyError):
        async with crowd(act, 1):
            await asyncio.sleep(0.05)
