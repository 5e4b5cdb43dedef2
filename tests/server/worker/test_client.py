"""Requests at the worker: queue, deadlines, cancellation, streams, and how they end when the server ends. The process
is real, its engine is the toy one."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Any

import numpy as np
import pytest
from worker_cases import begun, generation, gone, until

from flashu_core import (
    DeadlineExceededError,
    Finished,
    GenerateRequest,
    GenerateResult,
    InvalidRequestError,
    Progress,
    Text,
    UnderstandRequest,
    UnderstandResult,
)
from server.errors import InternalError, OverloadedError, UnavailableError
from server.worker.client import Worker

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def has_requests(worker: Worker, count: int) -> None:
    await until(lambda: worker.running + worker.waiting == count)


async def fill(engine: Any, worker: Worker, *prompts: str) -> list[asyncio.Task[Any]]:
    """Stops time in the first of these requests, two if they are not named; the others wait."""
    engine.hold()
    tasks = [asyncio.create_task(worker.run(generation(prompt))) for prompt in prompts or ("first", "second")]
    await until(lambda: (worker.running, worker.waiting) == (1, len(tasks) - 1))
    return tasks


async def test_many_requests_share_the_engine(both: Any) -> None:
    engine, worker = both
    alone = await worker.run(generation(seed=3))
    assert isinstance(alone, GenerateResult)
    results = await asyncio.gather(*(worker.run(generation(seed=seed)) for seed in range(6)))
    assert [result.seeds for result in results if isinstance(result, GenerateResult)] == [(s,) for s in range(6)]
    again = results[3]
    assert isinstance(again, GenerateResult)
    assert (again.images[0] == alone.images[0]).all()
    assert max(entry.count for entry in engine.logged("active")) > 2
    assert (worker.running, worker.waiting) == (0, 0)


async def test_a_full_queue_refuses_at_once(both: Any) -> None:
    engine, worker = both
    tasks = await fill(engine, worker)
    tasks += [asyncio.create_task(worker.run(generation())) for _ in range(5)]
    await until(lambda: worker.waiting == 6)
    with pytest.raises(OverloadedError) as caught:
        await worker.run(generation())
    assert caught.value.retry_after >= 1
    engine.release()
    assert len(await asyncio.gather(*tasks)) == 7


async def test_a_deadline_in_the_queue_never_reaches_the_engine(both: Any) -> None:
    engine, worker = both
    tasks = await fill(engine, worker)
    now = time.monotonic()
    with pytest.raises(DeadlineExceededError):
        await worker.run(generation("too late", deadline=now + 0.1))
    assert time.monotonic() - now >= 0.1
    engine.release()
    await asyncio.gather(*tasks)
    with pytest.raises(DeadlineExceededError):
        await worker.run(generation("too late", deadline=time.monotonic() - 1))
    await worker.run(generation("next"))
    assert "too late" not in begun(engine)


async def test_a_deadline_while_running_frees_the_place(both: Any) -> None:
    engine, worker = both
    done = len(engine.logged("step"))
    with pytest.raises(DeadlineExceededError):
        await worker.run(generation("long", num_inference_steps=1000, deadline=time.monotonic() + 0.2))
    await has_requests(worker, 0)
    assert len(engine.logged("step")) - done < 900
    await worker.run(generation("next"))


async def test_cancelling_a_waiting_and_a_running_one(both: Any) -> None:
    engine, worker = both
    saved, done = worker.steps_saved, len(engine.logged("step"))
    tasks = [asyncio.create_task(worker.run(generation("long", num_inference_steps=1000))) for _ in range(2)]
    await until(lambda: len(engine.logged("step")) > done + 10)
    engine.hold()
    waiting = asyncio.create_task(worker.run(generation("waits")))
    await until(lambda: worker.waiting == 1)
    for task in (*tasks, waiting):
        task.cancel()
    await asyncio.wait([*tasks, waiting])
    engine.release()
    await has_requests(worker, 0)
    ran = len(engine.logged("step")) - done
    assert worker.steps_saved - saved + ran == 2 * 999
    assert ran < 1900
    await worker.run(generation("next"))
    assert "waits" not in begun(engine)
    for task in (*tasks, waiting):
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_a_request_refused_by_the_engine_fails_alone(both: Any) -> None:
    _, worker = both
    other = asyncio.create_task(worker.run(generation("fine", num_inference_steps=30)))
    with pytest.raises(InvalidRequestError) as refused:
        await worker.run(generation("word " * 300))
    assert refused.value.parameter == "prompt"
    with pytest.raises(InternalError) as caught:
        await worker.run(generation("refuse"))
    assert "secret" not in str(caught.value)
    for prompt in ("\ud800", "x" * 20_000_000):
        with pytest.raises(InvalidRequestError, match="handed to the engine"):
            await worker.run(generation(prompt))
    assert isinstance(await other, GenerateResult)
    assert worker.state == "ready"


async def test_events_begin_and_end_as_they_should(both: Any) -> None:
    _, worker = both
    events = [event async for event in worker.events(generation(num_inference_steps=30))]
    assert isinstance(events[0], Progress) and isinstance(events[-1], Finished)
    progress = [event for event in events if isinstance(event, Progress)]
    assert progress[-1].step == progress[-1].of == 29
    assert len({event.request_id for event in events}) == 1
    image = np.full((4, 6, 3), 7, np.uint8)
    received = [
        event async for event in worker.events(UnderstandRequest(question="?", image=image, acceleration="exact"))
    ]
    last = received[-1]
    assert isinstance(last, Finished) and isinstance(last.result, UnderstandResult)
    assert last.result.answer == "6x4 7 7 7"
    assert "".join(event.text for event in received if isinstance(event, Text)) == last.result.answer
    with pytest.raises(InvalidRequestError):
        await anext(worker.events(generation("word " * 300)))


async def test_a_slow_reader_stalls_nobody_and_a_leaving_one_cancels(both: Any) -> None:
    engine, worker = both
    async with contextlib.aclosing(worker.events(generation("slow", num_inference_steps=200))) as slow:
        assert isinstance(await anext(slow), Progress)
        await worker.run(generation("beside", num_inference_steps=400))
        left = [event async for event in slow]
        assert [type(event) for event in left][-2:] == [Progress, Finished]
        assert len(left) < 10
    async with contextlib.aclosing(worker.events(generation("left", num_inference_steps=1000))) as leaving:
        async for event in leaving:
            if isinstance(event, Progress):
                break
    await has_requests(worker, 0)
    assert engine.logged("cancel")


async def test_draining_lets_all_end_and_takes_no_more(toy: Any, working: Any) -> None:
    engine = toy()
    async with working(engine) as worker:
        tasks = await fill(engine, worker, "a", "b", "c", "d")
        streams = asyncio.create_task(_all(worker, generation("stream", num_inference_steps=20)))
        await until(lambda: worker.waiting == 4)
        worker.begin_drain()
        assert worker.state == "draining"
        with pytest.raises(UnavailableError, match="shutting down"):
            await worker.run(generation())
        engine.release()
        assert len(await asyncio.gather(*tasks)) == 4
        assert isinstance((await streams)[-1], Finished)
        pid = worker.pid
        assert pid is not None
        await worker.stop()
        assert gone(pid)


async def _all(worker: Worker, request: GenerateRequest) -> list[Any]:
    return [event async for event in worker.events(request)]


async def test_stopping_fails_active_requests_and_ends_a_hanging_process(toy: Any, working: Any) -> None:
    async with working(toy(), stop_s=1.0) as worker:
        tasks = [asyncio.create_task(worker.run(generation(prompt))) for prompt in ("SIGSTOP", "b", "c")]
        await has_requests(worker, 3)
        pid = worker.pid
        assert pid is not None
        await worker.stop()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(outcome, UnavailableError) for outcome in outcomes)
        assert gone(pid)
