"""Open-loop sending keeps to its schedule; closed-loop keeps its concurrency; every request is recorded."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import pytest

from load_tests.bench.arrivals import Segment, arrivals
from load_tests.bench.bodies import Bodies
from load_tests.bench.client import Client
from load_tests.bench.driver import Driver, quiet
from load_tests.bench.record import Record
from load_tests.bench.workload import Wishes, Workload

Serving = Callable[..., AbstractAsyncContextManager[str]]
Make = Callable[..., bytes]


@pytest.fixture(scope="module")
def bodies() -> Bodies:
    return Bodies(seed=0)


async def test_an_open_loop_does_not_wait_for_answers(
    serving: Serving, response: Make, answer: Make, bodies: Bodies
) -> None:
    """The server responds only once the last request has arrived: a client that waited would never send it."""
    segments = [
        Segment(phase="a", seconds=0.3, rates={"vqa": 40.0, "generate": 20.0}, counted=False),
        Segment(phase="a", seconds=0.3, rates={"vqa": 40.0, "generate": 20.0}),
    ]
    due = arrivals(segments, 7)
    come = 0
    all_there = asyncio.Event()

    async def handler(head: bytes, body: bytes) -> bytes:
        nonlocal come
        come += 1
        if come == len(due):
            all_there.set()
        await all_there.wait()
        return response(200, answer("generate" if b"/generate" in head else "vqa"))

    async with serving(handler) as url:
        found = await Driver(Client(url), bodies, 7).open_loop(segments)
    assert len(found.records) == len(due) == 36
    offset = found.windows["a"].start - segments[0].seconds
    for arrival, one in zip(due, found.records, strict=True):
        assert (one.phase, one.task, one.counted) == (arrival.phase, arrival.task, arrival.counted)
        assert one.scheduled == pytest.approx(offset + arrival.at)
        assert one.sent >= one.scheduled - 0.001
        assert one.outcome == "completed"
    assert found.windows["a"].seconds == pytest.approx(0.3)


async def test_refusals_and_resets_are_records_too(serving: Serving, response: Make, bodies: Bodies) -> None:
    async def handler(head: bytes, body: bytes) -> bytes | None:
        return response(503, b"{}", "Retry-After: 3") if b"/vqa" in head else None

    segments = [Segment(phase="a", seconds=0.1, rates={"vqa": 100.0, "generate": 50.0})]
    async with serving(handler) as url:
        found = await Driver(Client(url), bodies, 0).open_loop(segments)
    outcomes = [(one.task, one.outcome, one.retry_after, one.error) for one in found.records]
    assert outcomes.count(("vqa", "refused", 3.0, None)) == 10
    assert outcomes.count(("generate", "broken", None, "reset")) == 5


async def test_a_limit_keeps_requests_waiting_and_their_latency_counts(
    serving: Serving, response: Make, answer: Make, bodies: Bodies
) -> None:
    now = maximum = 0

    async def handler(head: bytes, body: bytes) -> bytes:
        nonlocal now, maximum
        now += 1
        maximum = max(maximum, now)
        await asyncio.sleep(0.02)
        now -= 1
        return response(200, answer("vqa"))

    segments = [Segment(phase="a", seconds=0.1, rates={"vqa": 200.0})]
    async with serving(handler) as url:
        found = await Driver(Client(url), bodies, 0, limit=2).open_loop(segments)
    assert maximum == 2
    assert len(found.records) == 20
    assert max(one.latency for one in found.records) > 0.09  # 0.2 s of work for two, all sent within 0.1 s


async def test_an_open_loop_ends_when_it_is_enough(serving: Serving, response: Make, bodies: Bodies) -> None:
    """The third reply is enough; one that was asked before never comes, and is given up."""
    come = 0

    async def handler(head: bytes, body: bytes) -> bytes:
        nonlocal come
        come += 1
        if come == 1:
            await asyncio.sleep(30.0)
        return response(503)

    seen = 0

    def enough(one: Record) -> bool:
        nonlocal seen
        seen += 1
        return seen == 3

    segments = [Segment(phase="a", seconds=60.0, rates={"vqa": 10.0})]
    async with serving(handler) as url:
        found = await Driver(Client(url), bodies, 0).open_loop(segments, "constant", enough=enough)
    assert 3 <= len(found.records) < 60
    assert {one.status for one in found.records} == {503}


async def test_one_by_one_sends_what_the_open_loop_sends_and_each_alone(
    serving: Serving, response: Make, answer: Make
) -> None:
    received: list[bytes] = []
    now = 0

    async def handler(head: bytes, body: bytes) -> bytes:
        nonlocal now
        now += 1
        assert now == 1
        received.append(body)
        await asyncio.sleep(0.005)
        now -= 1
        return response(200, answer("vqa"))

    segments = [
        Segment(phase="a", seconds=1.0, rates={"vqa": 5.0}, counted=False),
        Segment(phase="a", seconds=1.0, rates={"vqa": 15.0, "generate": 5.0}),
    ]
    kept: list[tuple[str, int | None]] = []
    async with serving(handler) as url:
        driver = Driver(Client(url), Workload(3, Wishes()), 3)
        driver.keep = lambda message, reply: kept.append((message.key, reply.status))
        found = await driver.one_by_one(segments)
    workload = Workload(3, Wishes())
    assert received == [workload.next(arrival.task).body for arrival in arrivals(segments, 3)]
    assert [key for key, _ in kept] == [one.key for one in found.records]
    counted = [one for one in found.records if one.counted]
    assert len(counted) == 20
    assert found.windows["a"].start == pytest.approx(counted[0].scheduled)
    assert found.windows["a"].end >= counted[-1].end


async def test_a_closed_loop_keeps_so_many_under_way(
    serving: Serving, response: Make, answer: Make, bodies: Bodies
) -> None:
    now = maximum = 0

    async def handler(head: bytes, body: bytes) -> bytes:
        nonlocal now, maximum
        now += 1
        maximum = max(maximum, now)
        await asyncio.sleep(0.01)
        now -= 1
        return response(200, answer("vqa"))

    async with serving(handler) as url:
        driver = Driver(Client(url), bodies, 0)
        found = await driver.closed_loop("c", {"vqa": 0.5, "generate": 0.5}, concurrency=4, lead_s=0.2, seconds=0.3)
        warm = await driver.closed_loop("w", {"vqa": 1.0}, concurrency=1, lead_s=0.05, seconds=0.0)
    assert maximum == 4
    assert {one.task for one in found.records} == {"vqa", "generate"}
    window = found.windows["c"]
    assert window.seconds == pytest.approx(0.3)
    assert {one.counted for one in found.records} == {True, False}
    assert all(one.counted == (one.scheduled >= window.start) for one in found.records)
    assert warm.windows == {}
    assert warm.records
    assert not any(one.counted for one in warm.records)


async def test_a_closed_loop_asks_for_the_same_again_when_a_refusal_says(
    serving: Serving, response: Make, answer: Make, bodies: Bodies
) -> None:
    """Nine of ten pictures are refused: of what is completed, pictures are as many as drawn all the same."""
    requested = 0

    async def handler(head: bytes, body: bytes) -> bytes:
        nonlocal requested
        if b"/vqa" in head:
            return response(200, answer("vqa"))
        requested += 1
        return response(200, answer("generate")) if requested % 10 == 0 else response(503, b"{}", "Retry-After: 0.001")

    async with serving(handler) as url:
        driver = Driver(Client(url), bodies, 0)
        found = await driver.closed_loop("c", {"vqa": 0.5, "generate": 0.5}, concurrency=1, lead_s=0.0, seconds=1.0)
    ended = [one.task for one in found.records if one.outcome == "completed"]
    refused = sum(one.outcome == "refused" for one in found.records)
    assert 9 * ended.count("generate") <= refused <= 9 * (ended.count("generate") + 1)
    assert ended.count("generate") == pytest.approx(len(ended) / 2, abs=3 * len(ended) ** 0.5)


async def test_a_closed_loop_does_not_insist_for_ever(serving: Serving, response: Make, bodies: Bodies) -> None:
    async def handler(head: bytes, body: bytes) -> bytes:
        return response(503, b"{}", "Retry-After: 60")

    async with serving(handler) as url:
        driver = Driver(Client(url), bodies, 0)
        found = await driver.closed_loop("c", {"vqa": 1.0}, concurrency=2, lead_s=0.0, seconds=0.2)
    assert len(found.records) == 2


def test_the_seed_says_what_is_sent() -> None:
    first, second, other = Bodies(1), Bodies(1), Bodies(2)
    sent = [first.next("vqa").body for _ in range(20)]
    assert sent == [second.next("vqa").body for _ in range(20)]
    assert sent != [other.next("vqa").body for _ in range(20)]
    assert first.next("generate").path == "/v1/generate"


def test_garbage_waits_while_it_is_quiet() -> None:
    with quiet() as used:
        assert not gc.isenabled()
        sum(range(200_000))
    assert gc.isenabled()
    assert used.share > 0
