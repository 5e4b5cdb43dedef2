"""Who gives way when bodies hold all they may."""

from __future__ import annotations

import pytest

from server.errors import BodyMemoryError
from server.middleware.body_memory import BodyMemory

FREE = 64 * 1024
KIB = 1024


async def test_the_largest_that_still_arrives_gives_way() -> None:
    memory = BodyMemory(1000 * KIB)
    slow, slower, new = memory.open(), memory.open(), memory.open()
    slow.add(400 * KIB)
    slower.add(500 * KIB)
    new.add(FREE + 300 * KIB)
    assert (slow.evicted.done(), slower.evicted.done()) == (False, True)
    assert memory.used == (400 + 300 - 64) * KIB
    slower.close()
    assert memory.used == (400 + 300 - 64) * KIB


async def test_what_has_arrived_stays_and_the_newcomer_is_refused() -> None:
    memory = BodyMemory(1000 * KIB)
    whole = memory.open()
    whole.add(900 * KIB)
    whole.complete()
    new = memory.open()
    new.add(200 * KIB)
    with pytest.raises(BodyMemoryError):
        new.add(200 * KIB)
    assert not whole.evicted.done()
    whole.close()
    new.add(600 * KIB)


async def test_who_would_be_the_largest_is_refused_itself() -> None:
    memory = BodyMemory(1000 * KIB)
    modest, greedy = memory.open(), memory.open()
    modest.add(400 * KIB)
    greedy.add(500 * KIB)
    with pytest.raises(BodyMemoryError):
        greedy.add(400 * KIB)
    assert not modest.evicted.done()


async def test_short_bodies_always_pass() -> None:
    memory = BodyMemory(100 * KIB)
    whole = memory.open()
    whole.add(FREE + 100 * KIB)
    whole.complete()
    for _ in range(100):
        memory.open().add(FREE)
    assert memory.used == 100 * KIB


async def test_all_is_given_back() -> None:
    memory = BodyMemory(10 * KIB)
    for _ in range(50):
        held = memory.open()
        held.add(FREE + 10 * KIB)
        held.complete()
        held.close()
        held.close()
    assert memory.used == 0
