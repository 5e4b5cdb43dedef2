"""Asking the engine's process whether it would take a request: what is told, and what becomes of the question when the
process cannot tell. The processes are real, the engine inside is the small one of these tests."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from flashu_core import DeadlineExceededError, PromptTooLongError, UnderstandRequest
from server.errors import InternalError, UnavailableError, WorkerLostError
from server.worker.client import Worker
from server.worker.validations import Validations

pytestmark = pytest.mark.asyncio(loop_scope="module")
ASKED = UnderstandRequest(question="what is red?", acceleration="exact")


@pytest_asyncio.fixture(loop_scope="module")
async def held(toy: Any, working: Any) -> AsyncIterator[tuple[Any, Worker]]:
    engine = toy()
    async with working(engine) as worker:
        yield engine, worker


async def test_what_would_be_taken_or_refused_is_told_and_nothing_runs(held: Any) -> None:
    engine, worker = held
    await worker.validate(ASKED)
    with pytest.raises(PromptTooLongError) as caught:
        await worker.validate(UnderstandRequest(question="word " * 300, acceleration="exact"))
    assert caught.value.parameter == "question"
    with pytest.raises(InternalError):
        await worker.validate(UnderstandRequest(question="refuse", acceleration="exact"))
    assert [entry.text for entry in engine.logged("validate")] == [ASKED.question, "word " * 300, "refuse"]
    assert (engine.seen, worker.running, worker.waiting) == ([], 0, 0)


async def test_it_ends_with_its_deadline_with_the_process_and_with_the_server(held: Any) -> None:
    engine, worker = held
    engine.hold("hold-harm")
    busy = asyncio.create_task(worker.run(UnderstandRequest(question="exit", acceleration="exact")))
    while not engine.logged("begin"):
        await asyncio.sleep(0.005)
    with pytest.raises(DeadlineExceededError):
        await worker.validate(UnderstandRequest(question="a", deadline=time.monotonic() + 0.05, acceleration="exact"))
    requested = asyncio.create_task(worker.validate(ASKED))
    await asyncio.sleep(0.05)
    assert not requested.done()
    engine.release("hold-harm")
    with pytest.raises(WorkerLostError):
        await requested
    with pytest.raises(WorkerLostError):
        await busy
    while worker.state != "ready":
        await asyncio.sleep(0.005)
    await worker.validate(ASKED)
    worker.begin_drain()
    with pytest.raises(UnavailableError):
        await worker.validate(ASKED)


async def test_whoever_waits_when_the_server_ends_is_told_so(held: Any) -> None:
    engine, worker = held
    engine.hold("hold-harm")
    busy = asyncio.create_task(worker.run(UnderstandRequest(question="loop", acceleration="exact")))
    while not engine.logged("begin"):
        await asyncio.sleep(0.005)
    requested = asyncio.create_task(worker.validate(ASKED))
    await asyncio.sleep(0.05)
    worker.give_up()
    for one in (requested, busy):
        with pytest.raises(UnavailableError):
            await one


async def test_an_answer_that_nobody_waits_for_is_dropped() -> None:
    validations = Validations()
    validations.publish(1, None)
    waiting = asyncio.create_task(validations.answer(2, within_s=None))
    await asyncio.sleep(0)
    waiting.cancel()
    validations.publish(2, InternalError())
    validations.fail(InternalError())
    with pytest.raises(asyncio.CancelledError):
        await waiting
