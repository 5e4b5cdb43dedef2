"""The events of a request as its consumer reads them, fast or slow."""

from __future__ import annotations

import asyncio

import pytest

from flashu_core import Finished, Progress, Text, UnderstandResult
from server.errors import WorkerLostError
from server.worker.request_handle import RequestHandle

RESULT = UnderstandResult(
    answer="a b",
    finish_reason="stop",
    prompt_tokens=1,
    completion_tokens=2,
    acceleration="exact",
    schedule={},
    timings={},
)


def job() -> RequestHandle:
    return RequestHandle(request_id="1", rows=1, streamed=True)


async def test_a_slow_consumer_gets_the_last_progress_and_all_text() -> None:
    one = job()
    for step in range(1, 1000):
        one.publish(Progress("1", step, 1000))
        one.publish(Text("1", "ab"))
    assert await one.next_events() == [Progress("1", 999, 1000), Text("1", "ab" * 999)]
    one.publish(Text("1", "c"))
    one.end(Finished("1", RESULT))
    assert await one.next_events() == [Text("1", "c")]
    (last,) = await one.next_events()
    assert isinstance(last, Finished)
    assert await one.result() is RESULT


async def test_without_a_stream_only_the_end_is_kept() -> None:
    one = RequestHandle(request_id="1", rows=1)
    one.publish(Progress("1", 3, 9))
    one.publish(Text("1", "a"))
    assert (one.steps_left, one._pending) == (6, {})
    one.end(Finished("1", RESULT))
    assert await one.result() is RESULT


async def test_nothing_new_is_waited_for() -> None:
    one = job()
    waiting = asyncio.create_task(one.next_events())
    await asyncio.sleep(0)
    assert not waiting.done()
    one.publish(Progress("1", 1, 2))
    assert await waiting == [Progress("1", 1, 2)]
    assert one.progress == Progress("1", 1, 2)


async def test_the_first_end_counts() -> None:
    one = job()
    one.publish(Text("1", "a"))
    one.end(WorkerLostError(ran=True))
    one.end(Finished("1", RESULT))
    assert await one.next_events() == [Text("1", "a")]
    with pytest.raises(WorkerLostError):
        await one.next_events()
    with pytest.raises(WorkerLostError):
        await one.result()
