"""The queue, its deadlines and cancellations, and what happens when the engine fails."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from flashu_core import ConfigurationError, DeadlineExceededError, GenerateRequest, GenerateResult, InvalidRequestError
from server.errors import InternalError, OverloadedError, UnavailableError
from server.worker import Worker


@contextlib.asynccontextmanager
async def working(engine: Any, *, max_queue: int = 4, max_active: int = 2) -> AsyncIterator[Worker]:
    worker = Worker(lambda: engine, max_queue=max_queue, max_active=max_active)
    worker.start()
    try:
        await worker.loaded()
        yield worker
    finally:
        engine.go_on.set()
        await worker.stop()


async def until(condition: Callable[[], bool]) -> None:
    ends = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < ends, "it did not happen in time"
        await asyncio.sleep(0.002)


def drawing(prompt: str = "a", **fields: Any) -> GenerateRequest:
    return GenerateRequest(prompt=prompt, **fields)


async def test_many_requests_share_the_engine(toy: Any) -> None:
    engine = toy()
    async with working(engine, max_queue=20) as worker:
        alone, waited = await worker.run(drawing(seed=3))
        assert isinstance(alone, GenerateResult)
        assert waited >= 0
        results = await asyncio.gather(*(worker.run(drawing(seed=seed)) for seed in range(10)))
        assert [result.seeds for result, _ in results if isinstance(result, GenerateResult)] == [
            (s,) for s in range(10)
        ]
        again = results[3][0]
        assert isinstance(again, GenerateResult)
        assert (again.images[0] == alone.images[0]).all()
        assert engine.most_active == 2
        assert (worker.running, worker.waiting) == (0, 0)


async def test_a_full_queue_refuses_at_once(toy: Any) -> None:
    engine = toy()
    async with working(engine, max_queue=2, max_active=1) as worker:
        engine.go_on.clear()
        tasks = [asyncio.create_task(worker.run(drawing()))]
        await until(lambda: worker.running == 1)
        tasks += [asyncio.create_task(worker.run(drawing())) for _ in range(2)]
        await until(lambda: worker.waiting == 2)
        with pytest.raises(OverloadedError) as caught:
            await worker.run(drawing())
        assert caught.value.retry_after >= 1
        engine.go_on.set()
        assert len(await asyncio.gather(*tasks)) == 3


async def test_lower_priority_numbers_go_first(toy: Any) -> None:
    engine = toy()
    async with working(engine, max_queue=4, max_active=1) as worker:
        engine.go_on.clear()
        tasks = [asyncio.create_task(worker.run(drawing("first")))]
        await until(lambda: worker.running == 1)
        for prompt, priority in [("late", 5), ("middle a", 0), ("middle b", 0), ("early", -5)]:
            tasks.append(asyncio.create_task(worker.run(drawing(prompt, priority=priority))))
            await asyncio.sleep(0)
        engine.go_on.set()
        await asyncio.gather(*tasks)
        assert [request.prompt for request in engine.seen] == ["first", "early", "middle a", "middle b", "late"]


async def test_a_deadline_in_the_queue_never_reaches_the_engine(toy: Any) -> None:
    engine = toy()
    async with working(engine, max_active=1) as worker:
        engine.go_on.clear()
        task = asyncio.create_task(worker.run(drawing("first")))
        await until(lambda: worker.running == 1)
        begun = time.monotonic()
        with pytest.raises(DeadlineExceededError):
            await worker.run(drawing("too late", deadline=begun + 0.1))
        assert 0.05 < time.monotonic() - begun < 1
        assert worker.waiting == 0
        engine.go_on.set()
        await task
        with pytest.raises(DeadlineExceededError):
            await worker.run(drawing("long past", deadline=time.monotonic() - 1))
        await worker.run(drawing("next"))
        assert [request.prompt for request in engine.seen] == ["first", "next"]


async def test_a_deadline_while_running_frees_the_place(toy: Any) -> None:
    engine = toy(step_s=0.01)
    async with working(engine, max_active=1) as worker:
        with pytest.raises(DeadlineExceededError):
            await worker.run(drawing("long", points=1000, deadline=time.monotonic() + 0.1))
        await until(lambda: worker.running == 0)
        assert engine.cancelled == [1]
        assert engine.evaluations < 50
        await worker.run(drawing("next"))


async def test_cancelling_a_waiting_and_a_running_one(toy: Any) -> None:
    engine = toy(step_s=0.01)
    async with working(engine, max_active=1) as worker:
        running = asyncio.create_task(worker.run(drawing("long", points=1000)))
        await until(lambda: worker.running == 1)
        waiting = asyncio.create_task(worker.run(drawing("waits")))
        await until(lambda: worker.waiting == 1)
        waiting.cancel()
        await until(lambda: worker.waiting == 0)
        running.cancel()
        await until(lambda: worker.running == 0)
        await worker.run(drawing("next"))
        assert [request.prompt for request in engine.seen] == ["long", "next"]
        for task in (running, waiting):
            with pytest.raises(asyncio.CancelledError):
                await task


async def test_a_request_refused_by_the_engine_fails_alone(toy: Any) -> None:
    engine = toy()
    async with working(engine) as worker:
        other = asyncio.create_task(worker.run(drawing("fine", points=30)))
        with pytest.raises(InvalidRequestError):
            await worker.run(drawing("word " * 300))
        with pytest.raises(InternalError) as caught:
            await worker.run(drawing("refuse"))
        assert "secret" not in str(caught.value)
        assert isinstance((await other)[0], GenerateResult)
        assert worker.state == "ready"


async def test_an_engine_that_breaks_fails_all_and_takes_no_more(toy: Any) -> None:
    engine = toy()
    async with working(engine, max_active=2) as worker:
        engine.go_on.clear()
        inside = [asyncio.create_task(worker.run(drawing(prompt))) for prompt in ("explode", "beside")]
        await until(lambda: worker.running >= 1)
        engine.go_on.set()
        outcomes = await asyncio.gather(*inside, return_exceptions=True)
        assert isinstance(outcomes[0], InternalError)
        assert isinstance(outcomes[1], (InternalError, UnavailableError))
        assert worker.state == "failed"
        with pytest.raises(UnavailableError):
            await worker.run(drawing())


async def test_a_known_error_of_a_step_fails_those_inside_only(toy: Any) -> None:
    engine = toy()
    async with working(engine) as worker:
        engine.step_error = ConfigurationError("no")
        with pytest.raises(ConfigurationError):
            await worker.run(drawing())
        engine.step_error = None
        await worker.run(drawing())
        assert worker.state == "ready"


async def test_loading_draining_and_a_failed_load(toy: Any) -> None:
    engine = toy()
    go_on = threading.Event()

    def slow() -> Any:
        go_on.wait(5)
        return engine

    worker = Worker(slow, max_queue=1, max_active=1)
    worker.start()
    with pytest.raises(UnavailableError, match="loading"):
        await worker.run(drawing())
    with pytest.raises(UnavailableError, match="loading"):
        worker.info()
    go_on.set()
    assert (await worker.loaded()) == engine.info
    await until(lambda: worker.state == "ready")
    engine.go_on.clear()
    last = asyncio.create_task(worker.run(drawing()))
    await until(lambda: worker.running == 1)
    worker.begin_drain()
    with pytest.raises(UnavailableError, match="shutting down"):
        await worker.run(drawing())
    engine.go_on.set()
    assert isinstance((await last)[0], GenerateResult)
    await worker.stop()

    broken = toy()
    broken.loading_error = OSError("/secret")
    worker = Worker(lambda: broken, max_queue=1, max_active=1)
    worker.start()
    assert await worker.loaded() is None
    assert worker.state == "failed"
    with pytest.raises(UnavailableError, match="not running"):
        worker.info()
    await worker.stop()
    assert worker.state == "failed"


async def test_stopping_tells_those_still_inside(toy: Any) -> None:
    engine = toy(step_s=0.01)
    async with working(engine, max_active=1) as worker:
        tasks = [asyncio.create_task(worker.run(drawing(points=1000))) for _ in range(2)]
        await until(lambda: worker.running == 1)
        await worker.stop()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(outcome, UnavailableError) for outcome in outcomes)
