"""What becomes of the process and of its requests when it dies, hangs or does not load. The processes and the signals
are real, the engine is the toy one."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Any

import pytest
from worker_cases import begun, generation, gone, until

from flashu_core import (
    EngineConfig,
    GenerateResult,
)
from server.errors import UnavailableError, WorkerLostError
from server.ipc.protocol import Load
from server.worker.admission import QueueLimits
from server.worker.client import Worker
from server.worker.supervisor import WorkerTimeouts

LOAD = Load(model=None, engine=EngineConfig(), acceleration="exact", log_level="warning")
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.mark.parametrize("fate", ["explode", "exit", "garble", "SIGKILL", "SIGSEGV"])
async def test_a_dying_process_fails_all_and_is_replaced(both: Any, fate: str, capfd: Any) -> None:
    engine, worker = both
    before = worker.pid, worker.restarts
    beside = asyncio.create_task(worker.run(generation("beside", num_inference_steps=1000)))
    await until(lambda: worker.running == 1)
    engine.hold("hold-harm")
    tasks = [beside, asyncio.create_task(worker.run(generation(fate)))]
    await until(lambda: worker.running == 2)
    waiting = asyncio.create_task(worker.run(generation("waits")))
    await until(lambda: worker.waiting == 1)
    engine.hold("hold-loading")
    engine.release("hold-harm")
    lost = await asyncio.gather(*tasks, waiting, return_exceptions=True)
    assert [error.ran for error in lost if isinstance(error, WorkerLostError)] == [True, True, False]
    assert worker.state == "restarting"
    assert worker.info().name == "toy"
    with pytest.raises(UnavailableError, match="started again"):
        await worker.run(generation())
    with pytest.raises(UnavailableError):
        worker.check_ready()
    engine.release("hold-loading")
    await until(lambda: worker.state == "ready")
    worker.check_ready()
    await worker.run(generation("next"))
    assert (begun(engine).count(fate), "waits" in begun(engine)) == (1, False)
    assert worker.restarts == before[1] + 1
    assert worker.pid != before[0]
    assert "secret" not in "".join(capfd.readouterr())


async def test_a_poison_request_ends_in_unready(toy: Any, working: Any) -> None:
    engine = toy()
    async with working(engine, restarts=5, window_s=600.0) as worker:
        for death in range(6):
            await until(lambda: worker.state == "ready")
            assert worker.restarts == death
            with pytest.raises(WorkerLostError):
                await worker.run(generation("SIGKILL"))
        await until(lambda: worker.state == "failed")
        with pytest.raises(UnavailableError, match="not running"):
            await worker.run(generation())
        await asyncio.sleep(0.5)
        assert (worker.state, worker.restarts, worker.pid) == ("failed", 5, None)
        assert len(engine.seen) == 6


@pytest.mark.parametrize("fate", ["SIGSTOP", "loop"])
async def test_a_hanging_process_is_replaced(toy: Any, fate: str, working: Any) -> None:
    async with working(toy(), unit_s=1.0) as worker:
        before = worker.pid
        assert before is not None
        with pytest.raises(WorkerLostError):
            await worker.run(generation(fate))
        await until(lambda: worker.state == "ready")
        assert gone(before)
        await worker.run(generation())
        assert worker.restarts == 1


async def test_a_process_stopped_while_idle_is_replaced_once_it_has_work(toy: Any, working: Any) -> None:
    async with working(toy(), unit_s=1.0) as worker:
        assert worker.pid is not None
        os.kill(worker.pid, signal.SIGSTOP)
        await asyncio.sleep(2)
        assert (worker.state, worker.restarts) == ("ready", 0)
        with pytest.raises(WorkerLostError):
            await worker.run(generation())
        await until(lambda: worker.state == "ready")
        await worker.run(generation())


async def test_slow_work_that_moves_raises_no_alarm(toy: Any, working: Any) -> None:
    async with working(toy(step_s=0.5), unit_s=0.2) as worker:
        result = await worker.run(generation())
        assert isinstance(result, GenerateResult)
        assert worker.restarts == 0


async def test_loading_has_a_limit_of_its_own(toy: Any, working: Any) -> None:
    engine = toy()
    engine.hold("hold-loading")
    async with working(engine, wait=False, load_s=0.5, restarts=1) as worker:
        assert worker.state == "loading"
        with pytest.raises(UnavailableError, match="loading"):
            await worker.run(generation())
        with pytest.raises(UnavailableError, match="loading"):
            worker.info()
        assert await worker.loaded() is None
        assert (worker.state, worker.restarts) == ("failed", 1)


async def test_units_while_loading_are_signs_of_progress(toy: Any, working: Any) -> None:
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


async def test_a_model_that_can_never_load_is_not_tried_again(toy: Any, working: Any) -> None:
    engine = toy()
    engine.hold("no-loading")
    async with working(engine, wait=False) as worker:
        assert await worker.loaded() is None
        await until(lambda: worker.state == "failed")
        with pytest.raises(UnavailableError, match="not running"):
            worker.info()
        assert worker.restarts == 0
    assert worker.state == "failed"


async def test_a_model_that_does_not_load_this_time_is_tried_again(toy: Any, working: Any) -> None:
    engine = toy()
    engine.hold("no-memory")
    async with working(engine, wait=False) as worker:
        await until(lambda: len(engine.logged("no memory")) == 2)
        engine.release("no-memory")
        assert (await worker.loaded(), worker.state) == (worker.info(), "ready")
        assert worker.restarts >= 2


async def test_a_model_that_never_loads_is_given_up(toy: Any, working: Any) -> None:
    engine = toy()
    engine.hold("no-memory")
    async with working(engine, wait=False, restarts=1) as worker:
        assert await worker.loaded() is None
        assert (worker.state, worker.restarts) == ("failed", 1)


async def test_a_program_that_cannot_start_ends_in_failed() -> None:
    worker = Worker(LOAD, QueueLimits(), WorkerTimeouts(restarts=2), program=("/nowhere/at/all",))
    worker.start()
    assert await worker.loaded() is None
    assert worker.state == "failed"
    await worker.stop()
