"""Processes that do one job after another: killed when they take too long, replaced when they die, never waited for."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from server.errors import OverloadedError, UnavailableError
from server.images.process_pool import JobTimeoutError, PoolLimits, ProcessLostError, ProcessPool
from server.ipc.framing import Frame, encode
from server.ipc.protocol import FROM_IMAGE_PROCESS, DecodeImage, FromImageProcess, ImageEncoded

LONG_S = 60.0


def frame(text: str) -> Frame:
    rest = {"max_pixels": 1, "min_side": 1, "max_memory": 1, "width": 1, "height": 1, "cpu_s": 1.0}
    return encode(DecodeImage(file=text.encode(), is_text=False, **rest))  # type: ignore[arg-type]


class Pool:
    """A pool of the small program that jobs tell what to do."""

    def __init__(self, folder: Path, size: int, limits: PoolLimits) -> None:
        self.folder = folder
        program = (sys.executable, str(Path(__file__).with_name("toy_image_process.py")), str(folder))
        self.pool: ProcessPool[FromImageProcess] = ProcessPool(
            "decode", size=size, program=program, kinds=FROM_IMAGE_PROCESS, limits=limits
        )
        self.pool.start()

    async def do(self, text: str, *, client: str = "a", seconds: float = LONG_S, within: float = LONG_S) -> str:
        deadline = time.monotonic() + within
        reply = await self.pool.run(frame(text), client=client, seconds=seconds, deadline=deadline)
        assert isinstance(reply, ImageEncoded)
        return reply.file.decode()

    def starts(self) -> int:
        path = self.folder / "starts"
        return len(path.read_text().splitlines()) if path.exists() else 0


async def until(condition: Callable[[], bool]) -> None:
    ends = time.monotonic() + LONG_S
    while not condition():
        assert time.monotonic() < ends, "it did not happen in time"
        await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def pool_of(folder: Path, size: int = 1, **limits: float) -> AsyncIterator[Pool]:
    pool = Pool(folder, size, PoolLimits(**{"max_wait_s": LONG_S, **limits}))  # type: ignore[arg-type]
    try:
        yield pool
    finally:
        await pool.pool.stop()


async def test_jobs_are_done_in_turn_by_processes_that_stay(tmp_path: Path) -> None:
    async with pool_of(tmp_path, size=2) as pool:
        said = await asyncio.gather(*(pool.do(f"echo {number}") for number in range(20)))
        assert said == [f"echo {number}" for number in range(20)]
        await until(lambda: len(pool.pool.pids) == 2)
        await until(lambda: pool.starts() == 2)


async def test_one_that_takes_too_long_is_killed_and_replaced(tmp_path: Path) -> None:
    async with pool_of(tmp_path) as pool:
        await pool.do("echo")
        (pid,) = pool.pool.pids
        with pytest.raises(JobTimeoutError):
            await pool.do("wait for-nothing", seconds=0.1)
        assert await pool.do("echo again") == "echo again"
        assert pid not in pool.pool.pids
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
        assert pool.pool.replaced == {"timeout": 1, "died": 0}
        with pytest.raises(JobTimeoutError):  # stopped is as good as busy
            await pool.do("SIGSTOP", seconds=0.1)


@pytest.mark.parametrize("harm", ["SIGSEGV", "SIGKILL", "garble"])
async def test_one_that_dies_fails_its_own_job_only(tmp_path: Path, harm: str) -> None:
    async with pool_of(tmp_path, size=2) as pool:
        other = asyncio.ensure_future(pool.do("wait end"))
        with pytest.raises(ProcessLostError):
            await pool.do(harm)
        assert await pool.do("echo") == "echo"
        (tmp_path / "end").touch()
        assert await other == "wait end"
        assert pool.pool.replaced["died"] == 1


async def test_one_that_dies_between_two_jobs_fails_none(tmp_path: Path) -> None:
    async with pool_of(tmp_path) as pool:
        await pool.do("echo")
        (pid,) = pool.pool.pids
        os.kill(pid, signal.SIGKILL)
        assert await pool.do("echo") == "echo"
        assert pool.pool.replaced["died"] == 1


async def test_what_never_works_is_started_ever_more_rarely(tmp_path: Path) -> None:
    (tmp_path / "broken").touch()
    async with pool_of(tmp_path, max_wait_s=2.0) as pool:
        with pytest.raises(OverloadedError):
            await pool.do("echo")
        assert 1 <= pool.starts() <= 6
        (tmp_path / "broken").unlink()
        await until(lambda: pool.starts() > pool.pool.replaced["died"])
        assert await pool.do("echo") == "echo"


async def test_the_queue_is_bounded_in_jobs_bytes_and_time(tmp_path: Path) -> None:
    async with pool_of(tmp_path, max_waiting=2, max_waiting_bytes=20_000, max_wait_s=1.0) as pool:
        await pool.do("echo")
        running = asyncio.ensure_future(pool.do("wait end"))
        await until(lambda: pool.pool.running == 1)
        with pytest.raises(OverloadedError, match="decoded"):
            await pool.do("echo " + "x" * 20_000)
        waiting = [asyncio.ensure_future(pool.do("echo", client=client)) for client in ("a", "b")]
        await until(lambda: pool.pool.waiting == 2)
        with pytest.raises(OverloadedError):
            await pool.do("echo", client="c")
        for one in waiting:
            with pytest.raises(OverloadedError):
                await one
        assert pool.pool.waiting == 0
        (tmp_path / "end").touch()
        assert await running == "wait end"


async def test_one_client_fills_half_of_the_queue(tmp_path: Path) -> None:
    async with pool_of(tmp_path, max_waiting=8, max_waiting_bytes=20_000) as pool:
        await pool.do("echo")
        running = asyncio.ensure_future(pool.do("wait end"))
        await until(lambda: pool.pool.running == 1)
        large = asyncio.ensure_future(pool.do("echo " + "x" * 15_000, client="large"))  # a single one may be more
        await until(lambda: pool.pool.waiting == 1)
        with pytest.raises(OverloadedError):
            await pool.do("echo", client="large")
        waiting = [asyncio.ensure_future(pool.do("echo")) for _ in range(4)]
        await until(lambda: pool.pool.waiting == 5)
        with pytest.raises(OverloadedError):
            await pool.do("echo")
        waiting.append(asyncio.ensure_future(pool.do("echo", client="b")))
        await until(lambda: pool.pool.waiting == 6)
        (tmp_path / "end").touch()
        assert await running == "wait end"
        assert len(await large) > 15_000
        assert await asyncio.gather(*waiting) == ["echo"] * 5


async def test_clients_take_turns(tmp_path: Path) -> None:
    async with pool_of(tmp_path) as pool:
        running = asyncio.ensure_future(pool.do("wait end"))
        await until(lambda: pool.pool.running == 1)
        order: list[str] = []

        async def do(client: str) -> None:
            await pool.do("echo", client=client)
            order.append(client)

        jobs = [asyncio.ensure_future(do(client)) for client in "aaaabbc"]
        await until(lambda: pool.pool.waiting == 7)
        (tmp_path / "end").touch()
        await asyncio.gather(running, *jobs)
        assert order == ["a", "b", "c", "a", "b", "a", "a"]


async def test_a_client_whose_jobs_take_long_leaves_a_process_to_others(tmp_path: Path) -> None:
    async with pool_of(tmp_path, size=2, max_wait_s=LONG_S) as pool:
        await asyncio.gather(pool.do("echo"), pool.do("echo"))
        slow = [asyncio.ensure_future(pool.do("wait end", client="slow"))]
        await asyncio.sleep(1.1)
        slow += [asyncio.ensure_future(pool.do("wait end", client="slow")) for _ in range(5)]
        await until(lambda: pool.pool.waiting == 5)
        for _ in range(3):
            assert await pool.do("echo", client="quick") == "echo"
        assert (pool.pool.running, pool.pool.waiting) == (1, 5)
        (tmp_path / "end").touch()
        assert await asyncio.gather(*slow) == ["wait end"] * 6


async def test_a_deadline_ends_the_wait_and_not_the_process(tmp_path: Path) -> None:
    async with pool_of(tmp_path) as pool:
        await pool.do("echo")
        with pytest.raises(asyncio.TimeoutError):
            await pool.do("wait end", within=0.1)
        with pytest.raises(asyncio.TimeoutError):
            await pool.do("echo", within=0.1)  # behind the first
        assert pool.pool.waiting == 0
        (tmp_path / "end").touch()
        assert await pool.do("echo") == "echo"
        assert pool.starts() == 1


async def test_whoever_leaves_waits_no_longer_and_the_rest_is_done(tmp_path: Path) -> None:
    async with pool_of(tmp_path) as pool:
        running = asyncio.ensure_future(pool.do("wait end"))
        gone = asyncio.ensure_future(pool.do("echo gone"))
        stays = asyncio.ensure_future(pool.do("echo stays"))
        await until(lambda: pool.pool.waiting == 2)
        for task in (running, gone):
            task.cancel()
        await asyncio.gather(running, gone, return_exceptions=True)
        (tmp_path / "end").touch()
        assert await stays == "echo stays"
        assert pool.pool.replaced == {"timeout": 0, "died": 0}


async def test_stopping_waits_for_nobody(tmp_path: Path) -> None:
    pool = Pool(tmp_path, 1, PoolLimits())
    await pool.do("echo")
    (pid,) = pool.pool.pids
    jobs = [asyncio.ensure_future(pool.do(text)) for text in ("wait for-nothing", "echo")]
    await until(lambda: pool.pool.waiting == 1)
    await pool.pool.stop()
    for job in jobs:
        with pytest.raises(UnavailableError, match="shutting down"):
            await job
    with pytest.raises(UnavailableError):
        await pool.do("echo")
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_stopping_waits_for_none_that_is_just_being_started(tmp_path: Path) -> None:
    (tmp_path / "slow").touch()
    pool = Pool(tmp_path, 1, PoolLimits())
    await asyncio.sleep(0)  # it has begun to start one, which nobody knows yet
    assert not pool.pool.pids
    await asyncio.wait_for(pool.pool.stop(), LONG_S)
    assert not pool.pool.pids
