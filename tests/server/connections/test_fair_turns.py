"""Turns: each once, in order, with pauses between."""

from __future__ import annotations

import asyncio
import time

from server.connections.fair_turns import Turns


async def test_each_in_its_order_with_pauses() -> None:
    turns = Turns(share=0.1)
    called: list[int] = []
    spans: list[tuple[float, float]] = []
    done = asyncio.Event()

    def work(index: int) -> None:
        began = time.perf_counter()
        while time.perf_counter() - began < 0.002:
            pass
        called.append(index)
        spans.append((began, time.perf_counter()))
        if index < 4:
            turns.wait(lambda: work(index + 10))  # one that is not done waits again, behind the others
        if len(called) == 9:
            done.set()

    for index in range(5):
        turns.wait(lambda index=index: work(index))  # type: ignore[misc]
    await asyncio.wait_for(done.wait(), 60)
    assert called == [0, 1, 2, 3, 4, 10, 11, 12, 13]
    worked = sum(end - began for began, end in spans)
    assert worked <= 0.2 * (spans[-1][1] - spans[0][0]), "they took more than their share"


async def test_one_that_fails_does_not_stop_the_others() -> None:
    turns = Turns()
    done = asyncio.Event()
    failures: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context["exception"]))

    def fail() -> None:
        raise ValueError

    turns.wait(fail)
    turns.wait(done.set)
    await asyncio.wait_for(done.wait(), 60)
    assert [type(failure) for failure in failures] == [ValueError]
