"""The queue, its deadlines and cancellations, and what becomes of requests when the process dies, hangs or ends. The
processes and the signals are real, the engine inside is the small one of these tests."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import numpy as np
import pytest
import pytest_asyncio

from flashu_core import (
    DeadlineExceededError,
    EngineConfig,
    Finished,
    GenerateRequest,
    GenerateResult,
    InvalidRequestError,
    Progress,
    Text,
    UnderstandRequest,
    UnderstandResult,
)
from server.admission import Room
from server.errors import InternalError, OverloadedError, UnavailableError, WorkerLostError
from server.messages import Load
from server.supervisor import Patience
from server.worker import Worker

pytestmark = pytest.mark.asyncio(loop_scope="module")
LOAD = Load(model=None, engine=EngineConfig(), policy="exact", log_level="warning")


@contextlib.asynccontextmanager
async def working(engine: Any, *, wait: bool = True, **patience: Any) -> AsyncIterator[Worker]:
    """A worker before which six may wait, on an engine that no test shares."""
    worker = Worker(
        LOAD,
        Room(seconds=600.0, requests=6, request_seconds=600.0),
        Patience(**{"unit_s": 600.0, **patience}),
        program=engine.program,
    )
    worker.start()
    try:
        if wait:
            assert await worker.loaded() is not None
        yield worker
    finally:
        for name in ("hold", "hold-harm", "hold-loading"):
            engine.release(name)
        await worker.stop()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def both(toy: Any) -> AsyncIterator[tuple[Any, Worker]]:
    """A worker and its engine for all tests here that leave them as they found them."""
    engine = toy()
    async with working(engine, restarts=1000) as worker:
        yield engine, worker


async def until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends, "it did not happen in time"
        await asyncio.sleep(0.005)


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def drawing(prompt: str = "a", **fields: Any) -> GenerateRequest:
    return GenerateRequest(prompt=prompt, **fields)


def begun(engine: Any) -> list[str]:
    """What the engine has turned to."""
    return [entry.text for entry in engine.logged("begin")]


async def inside(worker: Worker, count: int) -> None:
    await until(lambda: worker.running + worker.waiting == count)


async def fill(engine: Any, worker: Worker, *prompts: str) -> list[asyncio.Task[Any]]:
    """Stops time in the first of these requests, two if they are not named; the others wait."""
    engine.hold()
    tasks = [asyncio.create_task(worker.run(drawing(prompt))) for prompt in prompts or ("first", "second")]
    await until(lambda: (worker.running, worker.waiting) == (1, len(tasks) - 1))
    return tasks


async def test_many_requests_share_the_engine(both: Any) -> None:
    engine, worker = both
    alone = await worker.run(drawing(seed=3))
    assert isinstance(alone, GenerateResult)
    results = await asyncio.gather(*(worker.run(drawing(seed=seed)) for seed in range(6)))
    assert [result.seeds for result in results if isinstance(result, GenerateResult)] == [(s,) for s in range(6)]
    again = results[3]
    assert isinstance(again, GenerateResult)
    assert (again.images[0] == alone.images[0]).all()
    assert max(entry.count for entry in engine.logged("active")) > 2
    assert (worker.running, worker.waiting) == (0, 0)


async def test_a_full_queue_refuses_at_once(both: Any) -> None:
    engine, worker = both
    tasks = await fill(engine, worker)
    tasks += [asyncio.create_task(worker.run(drawing())) for _ in range(5)]
    await until(lambda: worker.waiting == 6)
    with pytest.raises(OverloadedError) as caught:
        await worker.run(drawing())
    assert caught.value.retry_after >= 1
    engine.release()
    assert len(await asyncio.gather(*tasks)) == 7


async def test_a_deadline_in_the_queue_never_reaches_the_engine(both: Any) -> None:
    engine, worker = both
    tasks = await fill(engine, worker)
    now = time.monotonic()
    with pytest.raises(DeadlineExceededError):
        await worker.run(drawing("too late", deadline=now + 0.1))
    assert time.monotonic() - now >= 0.1
    engine.release()
    await asyncio.gather(*tasks)
    with pytest.raises(DeadlineExceededError):
        await worker.run(drawing("too late", deadline=time.monotonic() - 1))
    await worker.run(drawing("next"))
    assert "too late" not in begun(engine)


async def test_a_deadline_while_running_frees_the_place(both: Any) -> None:
    engine, worker = both
    done = len(engine.logged("evaluation"))
    with pytest.raises(DeadlineExceededError):
        await worker.run(drawing("long", points=1000, deadline=time.monotonic() + 0.2))
    await inside(worker, 0)
    assert len(engine.logged("evaluation")) - done < 900
    await worker.run(drawing("next"))


async def test_cancelling_a_waiting_and_a_running_one(both: Any) -> None:
    engine, worker = both
    saved, done = worker.evaluations_saved, len(engine.logged("evaluation"))
    tasks = [asyncio.create_task(worker.run(drawing("long", points=1000))) for _ in range(2)]
    await until(lambda: len(engine.logged("evaluation")) > done + 10)
    engine.hold()
    waiting = asyncio.create_task(worker.run(drawing("waits")))
    await until(lambda: worker.waiting == 1)
    for task in (*tasks, waiting):
        task.cancel()
    await asyncio.wait([*tasks, waiting])
    engine.release()
    await inside(worker, 0)
    ran = len(engine.logged("evaluation")) - done
    assert worker.evaluations_saved - saved + ran == 2 * 999
    assert ran < 1900
    await worker.run(drawing("next"))
    assert "waits" not in begun(engine)
    for task in (*tasks, waiting):
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_a_request_refused_by_the_engine_fails_alone(both: Any) -> None:
    _, worker = both
    other = asyncio.create_task(worker.run(drawing("fine", points=30)))
    with pytest.raises(InvalidRequestError) as refused:
        await worker.run(drawing("word " * 300))
    assert refused.value.parameter == "prompt"
    with pytest.raises(InternalError) as caught:
        await worker.run(drawing("refuse"))
    assert "secret" not in str(caught.value)
    for prompt in ("\ud800", "x" * 20_000_000):
        with pytest.raises(InvalidRequestError, match="handed to the engine"):
            await worker.run(drawing(prompt))
    assert isinstance(await other, GenerateResult)
    assert worker.state == "ready"


async def test_events_begin_and_end_as_they_should(both: Any) -> None:
    _, worker = both
    events = [event async for event in worker.events(drawing(points=30))]
    assert isinstance(events[0], Progress) and isinstance(events[-1], Finished)
    progress = [event for event in events if isinstance(event, Progress)]
    assert progress[-1].evaluation == progress[-1].of == 29
    assert len({event.request for event in events}) == 1
    image = np.full((4, 6, 3), 7, np.uint8)
    told = [event async for event in worker.events(UnderstandRequest(question="?", image=image))]
    last = told[-1]
    assert isinstance(last, Finished) and isinstance(last.result, UnderstandResult)
    assert last.result.answer == "6x4 7 7 7"
    assert "".join(event.text for event in told if isinstance(event, Text)) == last.result.answer
    with pytest.raises(InvalidRequestError):
        await anext(worker.events(drawing("word " * 300)))


async def test_a_slow_reader_stalls_nobody_and_a_leaving_one_cancels(both: Any) -> None:
    engine, worker = both
    async with contextlib.aclosing(worker.events(drawing("slow", points=200))) as slow:
        assert isinstance(await anext(slow), Progress)
        await worker.run(drawing("beside", points=400))
        left = [event async for event in slow]
        assert [type(event) for event in left][-2:] == [Progress, Finished]
        assert len(left) < 10
    async with contextlib.aclosing(worker.events(drawing("left", points=1000))) as leaving:
        async for event in leaving:
            if isinstance(event, Progress):
                break
    await inside(worker, 0)
    assert engine.logged("cancel")


@pytest.mark.parametrize("fate", ["explode", "exit", "garble", "SIGKILL", "SIGSEGV"])
async def test_a_dying_process_fails_all_and_is_replaced(both: Any, fate: str, capfd: Any) -> None:
    engine, worker = both
    before = worker.pid, worker.restarts
    beside = asyncio.create_task(worker.run(drawing("beside", points=1000)))
    await until(lambda: worker.running == 1)
    engine.hold("hold-harm")
    tasks = [beside, asyncio.create_task(worker.run(drawing(fate)))]
    await until(lambda: worker.running == 2)
    waiting = asyncio.create_task(worker.run(drawing("waits")))
    await until(lambda: worker.waiting == 1)
    engine.hold("hold-loading")
    engine.release("hold-harm")
    lost = await asyncio.gather(*tasks, waiting, return_exceptions=True)
    assert [error.ran for error in lost if isinstance(error, WorkerLostError)] == [True, True, False]
    assert worker.state == "restarting"
    assert worker.info().name == "toy"
    with pytest.raises(UnavailableError, match="started again"):
        await worker.run(drawing())
    with pytest.raises(UnavailableError):
        worker.check_ready()
    engine.release("hold-loading")
    await until(lambda: worker.state == "ready")
    worker.check_ready()
    await worker.run(drawing("next"))
    assert (begun(engine).count(fate), "waits" in begun(engine)) == (1, False)
    assert worker.restarts == before[1] + 1
    assert worker.pid != before[0]
    assert "secret" not in "".join(capfd.readouterr())


async def test_a_poison_request_ends_in_unready(toy: Any) -> None:
    engine = toy()
    async with working(engine, restarts=5, window_s=600.0) as worker:
        for death in range(6):
            await until(lambda: worker.state == "ready")
            assert worker.restarts == death
            with pytest.raises(WorkerLostError):
                await worker.run(drawing("SIGKILL"))
        await until(lambda: worker.state == "failed")
        with pytest.raises(UnavailableError, match="not running"):
            await worker.run(drawing())
        await asyncio.sleep(0.5)
        assert (worker.state, worker.restarts, worker.pid) == ("failed", 5, None)
        assert len(engine.seen) == 6


@pytest.mark.parametrize("fate", ["SIGSTOP", "loop"])
async def test_a_hanging_process_is_replaced(toy: Any, fate: str) -> None:
    async with working(toy(), unit_s=1.0) as worker:
        before = worker.pid
        assert before is not None
        with pytest.raises(WorkerLostError):
            await worker.run(drawing(fate))
        await until(lambda: worker.state == "ready")
        assert gone(before)
        await worker.run(drawing())
        assert worker.restarts == 1


async def test_a_process_stopped_while_idle_is_replaced_once_it_has_work(toy: Any) -> None:
    async with working(toy(), unit_s=1.0) as worker:
        assert worker.pid is not None
        os.kill(worker.pid, signal.SIGSTOP)
        await asyncio.sleep(2)
        assert (worker.state, worker.restarts) == ("ready", 0)
        with pytest.raises(WorkerLostError):
            await worker.run(drawing())
        await until(lambda: worker.state == "ready")
        await worker.run(drawing())


async def test_slow_work_that_moves_raises_no_alarm(toy: Any) -> None:
    async with working(toy(step_s=0.5), unit_s=0.2) as worker:
        result = await worker.run(drawing())
        assert isinstance(result, GenerateResult)
        assert worker.restarts == 0


async def test_loading_has_a_limit_of_its_own(toy: Any) -> None:
    engine = toy()
    engine.hold("hold-loading")
    async with working(engine, wait=False, load_s=0.5, restarts=1) as worker:
        assert worker.state == "loading"
        with pytest.raises(UnavailableError, match="loading"):
            await worker.run(drawing())
        with pytest.raises(UnavailableError, match="loading"):
            worker.info()
        assert await worker.loaded() is None
        assert (worker.state, worker.restarts) == ("failed", 1)


async def test_units_while_loading_are_signs_of_progress(toy: Any) -> None:
    """Calibrating a large model on a slow machine takes longer than anything else that loading does."""
    engine = toy(step_s=0.1)
    engine.hold("slow-loading")
    async with working(engine, wait=False, load_s=3.0) as worker:
        await until(lambda: worker.last_progress > 0)
        before = worker.restarts
        await asyncio.sleep(4.0)
        assert (worker.state, worker.restarts) == ("loading", before)
        engine.release("slow-loading")
        await until(lambda: worker.state == "ready")
        assert worker.restarts == before


async def test_a_model_that_can_never_load_is_not_tried_again(toy: Any) -> None:
    engine = toy()
    engine.hold("no-loading")
    async with working(engine, wait=False) as worker:
        assert await worker.loaded() is None
        await until(lambda: worker.state == "failed")
        with pytest.raises(UnavailableError, match="not running"):
            worker.info()
        assert worker.restarts == 0
    assert worker.state == "failed"


async def test_a_model_that_does_not_load_this_time_is_tried_again(toy: Any) -> None:
    engine = toy()
    engine.hold("no-memory")
    async with working(engine, wait=False) as worker:
        await until(lambda: len(engine.logged("no memory")) == 2)
        engine.release("no-memory")
        assert (await worker.loaded(), worker.state) == (worker.info(), "ready")
        assert worker.restarts >= 2


async def test_a_model_that_never_loads_is_given_up(toy: Any) -> None:
    engine = toy()
    engine.hold("no-memory")
    async with working(engine, wait=False, restarts=1) as worker:
        assert await worker.loaded() is None
        assert (worker.state, worker.restarts) == ("failed", 1)


async def test_draining_lets_all_end_and_takes_no_more(toy: Any) -> None:
    engine = toy()
    async with working(engine) as worker:
        tasks = await fill(engine, worker, "a", "b", "c", "d")
        streams = asyncio.create_task(_all(worker, drawing("stream", points=20)))
        await until(lambda: worker.waiting == 4)
        worker.begin_drain()
        assert worker.state == "draining"
        with pytest.raises(UnavailableError, match="shutting down"):
            await worker.run(drawing())
        engine.release()
        assert len(await asyncio.gather(*tasks)) == 4
        assert isinstance((await streams)[-1], Finished)
        pid = worker.pid
        assert pid is not None
        await worker.stop()
        assert gone(pid)


async def _all(worker: Worker, request: GenerateRequest) -> list[Any]:
    return [event async for event in worker.events(request)]


async def test_stopping_tells_those_still_inside_and_ends_what_hangs(toy: Any) -> None:
    async with working(toy(), stop_s=1.0) as worker:
        tasks = [asyncio.create_task(worker.run(drawing(prompt))) for prompt in ("SIGSTOP", "b", "c")]
        await inside(worker, 3)
        pid = worker.pid
        assert pid is not None
        await worker.stop()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(outcome, UnavailableError) for outcome in outcomes)
        assert gone(pid)


async def test_a_program_that_cannot_start_ends_in_failed() -> None:
    worker = Worker(LOAD, Room(), Patience(restarts=2), program=("/nowhere/at/all",))
    worker.start()
    assert await worker.loaded() is None
    assert worker.state == "failed"
    await worker.stop()
