"""Validation of requests by the engine's process, and how it ends when the process dies or the server ends. The
processes are real, their engine is the toy one."""

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
REQUEST = UnderstandRequest(question="what is red?", acceleration="exact")


@pytest_asyncio.fixture(loop_scope="module")
async def held(toy: Any, working: Any) -> AsyncIterator[tuple[Any, Worker]]:
    engine = toy()
    async with working(engine) as worker:
        yield engine, worker


async def test_validation_reports_what_submitting_would_and_runs_nothing(held: Any) -> None:
    engine, worker = held
    await worker.validate(REQUEST)
    with pytest.raises(PromptTooLongError) as caught:
        await worker.validate(UnderstandRequest(question="word " * 300, acceleration="exact"))
    assert caught.value.parameter == "question"
    with pytest.raises(InternalError):
        await worker.validate(UnderstandRequest(question="refuse", acceleration="exact"))
    assert [entry.text for entry in engine.logged("validate")] == [REQUEST.question, "word " * 300, "refuse"]
    assert (engine.seen, worker.running, worker.waiting) == ([], 0, 0)


async def test_it_ends_with_its_deadline_with_the_process_and_with_the_server(held: Any) -> None:
    engine, worker = held
    engine.hold("hold-harm")
    busy = asyncio.create_task(worker.run(UnderstandRequest(question="exit", acceleration="exact")))
    while not engine.logged("begin"):
        await asyncio.sleep(0.005)
    with pytest.raises(DeadlineExceededError):
        await worker.validate(UnderstandRequest(question="a", deadline=time.monotonic() + 0.05, acceleration="exact"))
    validating = asyncio.create_task(worker.validate(REQUEST))
    await asyncio.sleep(0.05)
    assert not validating.done()
    engine.release("hold-harm")
    with pytest.raises(WorkerLostError):
        await validating
    with pytest.raises(WorkerLostError):
        await busy
    while worker.state != "ready":
        await asyncio.sleep(0.005)
    await worker.validate(REQUEST)
    worker.begin_drain()
    with pytest.raises(UnavailableError):
        await worker.validate(REQUEST)


async def test_validations_fail_when_the_server_ends(held: Any) -> None:
    engine, worker = held
    engine.hold("hold-harm")
    busy = asyncio.create_task(worker.run(UnderstandRequest(question="loop", acceleration="exact")))
    while not engine.logged("begin"):
        await asyncio.sleep(0.005)
    validating = asyncio.create_task(worker.validate(REQUEST))
    await asyncio.sleep(0.05)
    worker.give_up()
    for one in (validating, busy):
        with pytest.raises(UnavailableError):
            await one


async def test_an_answer_that_nobody_waits_for_is_dropped() -> None:
    validations = Validations()
    validations.publish("1", None)
    waiting = asyncio.create_task(validations.answer("2", within_s=None))
    await asyncio.sleep(0)
    waiting.cancel()
    validations.publish("2", InternalError())
    validations.fail(InternalError())
    with pytest.raises(asyncio.CancelledError):
        await waiting
