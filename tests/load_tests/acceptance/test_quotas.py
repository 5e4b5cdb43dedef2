"""The number of requests of each key."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

from load_tests.acceptance.quotas import Share, parallel_work, share, two_keys


async def test_one_asks_ten_times_as_often_and_both_are_counted(
    serving: Callable[[Any], AbstractAsyncContextManager[str]], response: Callable[..., bytes]
) -> None:
    keys = two_keys()

    async def handle(head: bytes, body: bytes) -> bytes:
        return response(200 if f"Bearer {keys['modest']}".encode() in head else 429)

    async with serving(handle) as url:
        found = await share(url, keys, per_s=10.0, seconds=1.0, seed=0)
    assert found.greedy == {429: 100}
    assert found.modest == {200: 9}
    assert found.success == 1.0


def test_who_asked_nothing_has_no_success() -> None:
    assert Share(greedy=Counter(), modest=Counter()).success is None
    assert Share(greedy=Counter(), modest=Counter({200: 3, 429: 1})).success == 0.75


def test_keys_are_new_for_every_run() -> None:
    assert two_keys() != two_keys()


async def test_work_is_what_the_server_says_it_did(
    serving: Callable[[Any], AbstractAsyncContextManager[str]], response: Callable[..., bytes]
) -> None:
    done = [1000.0]

    async def handle(head: bytes, body: bytes) -> bytes:
        if b"/metrics" in head:
            return response(200, b'flashu_batch_size_sum{task="generate"} %f\n' % done[0])
        late = b"timeout_s" in body
        done[0] += 10 if late else 52
        return response(504 if late else 200)

    async with serving(handle) as url:
        found = await parallel_work(url, "key")
    assert found.statuses == {200: 16, 504: 8}
    assert found.steps == 16 * 50 + 8 * 10
