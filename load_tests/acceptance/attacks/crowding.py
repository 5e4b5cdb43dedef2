"""Requests that crowd out others: questions that cost only their admission, one giant generation request, answers that
mislead admission's predictions, and a flood with the highest priority."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import Sequence

from load_tests.acceptance.attacks.rig import Rig
from load_tests.acceptance.crowd import crowd
from load_tests.acceptance.target import Target
from load_tests.bench.bodies import Bodies
from load_tests.bench.client import Client, Message, Reply
from load_tests.bench.scrape import RESTARTS, scrape

_SHARE = 0.8  # of the idle throughput
_SUCCESS = 0.99
_QUIET_S, _ATTACK_S = 4.0, 10.0
_FREE_PER_S = 25.0
_FREE_CLIENTS = 8
_SMALL_S, _EVERY_S = 5.0, 0.25
_MAX_QUEUE_S = 2.0
_MARGIN_S = 1.0  # the question itself, and the unit that runs before it
_POISON, _LONG = 400, 200
_TOGETHER = 16
_TOKENS = 4096
_FLOOD = 12
_VICTIM_TIMEOUT_S = 4.0


async def run(rig: Rig) -> Sequence[Target]:
    with rig.server(hang_timeout_s=2) as server:
        found = await free_acceptance(Client(server.base_url), rig.seed)
    with rig.server() as server:
        found.append(await giant(Client(server.base_url)))
    with rig.server() as server:
        found.append(await urgent(Client(server.base_url)))
    with rig.server(max_queue_seconds=_MAX_QUEUE_S) as server:
        found.append(await poisoned(Client(server.base_url)))
    return found


async def free_acceptance(
    client: Client, seed: int, *, quiet_s: float = _QUIET_S, seconds: float = _ATTACK_S
) -> list[Target]:
    """Images, one after the other, beside long questions, each with its own schedule and an expired deadline."""
    rng = random.Random(seed)
    picture = Message(path="/v1/generate", body=b'{"prompt": "a red circle", "seed": 1}')
    await client.exchange(picture)
    before = (await scrape(client)).get((RESTARTS, ()), 0.0)
    quiet = await _throughput(client, picture, quiet_s)
    pace = _FREE_CLIENTS / _FREE_PER_S

    async def send(_: int) -> None:
        overrides = {"hybrid_threshold": rng.random(), "skip_interval": rng.randint(1, 1000)}
        body = {
            "task": "vqa",
            "question": "hi",
            "max_new_tokens": _TOKENS,
            "timeout_s": 1e-6,
            "acceleration": overrides,
        }
        message = Message(path="/v1/infer", body=json.dumps(body).encode())
        await asyncio.gather(client.exchange(message), asyncio.sleep(pace))

    async with crowd(send, _FREE_CLIENTS):
        beside = await _throughput(client, picture, seconds)
    restarts = (await scrape(client)).get((RESTARTS, ()), 0.0) - before
    what = f"{_FREE_PER_S:g} questions per second with an expired deadline"
    return [
        Target(
            name=f"pictures beside {what}, relative to idle",
            unit="",
            limit=_SHARE,
            at_least=True,
            measured=beside / quiet if quiet else None,
            note=f"{beside:.2f} a second of {quiet:.2f}",
        ),
        Target(name=f"restarts of the worker beside {what}", unit="", limit=0, measured=restarts),
    ]


async def giant(client: Client, seconds: float = _SMALL_S) -> Target:
    """Small requests beside the largest possible one."""
    body = {"prompt": "a red circle", "n": 8, "num_inference_steps": 1000, "acceleration": "exact", "timeout_s": 600}
    bodies = Bodies(0)
    giant = asyncio.create_task(client.exchange(Message(path="/v1/generate", body=json.dumps(body).encode())))
    await asyncio.sleep(0.5)
    small = []
    for number in range(round(seconds / _EVERY_S)):
        small.append(asyncio.create_task(client.exchange(bodies.next("generate" if number % 5 == 0 else "vqa"))))
        await asyncio.sleep(_EVERY_S)
    statuses = Counter(reply.status for reply in await asyncio.gather(*small))
    refused = giant.result().status if giant.done() else None
    giant.cancel()
    await asyncio.gather(giant, return_exceptions=True)
    return Target(
        name="small requests beside one of 8,000 denoising steps, success",
        unit="",
        limit=_SUCCESS,
        at_least=True,
        measured=statuses[200] / statuses.total(),
        note=("the large one runs" if refused is None else f"the large one: {refused}") + f"; {_listed(statuses)}",
    )


async def urgent(client: Client, seconds: float = 2 * _VICTIM_TIMEOUT_S) -> Target:
    """Images with default priority beside a client's closed loop with the highest priority."""
    flood = Message(path="/v1/generate", body=b'{"prompt": "a", "priority": -100}')
    body = {"prompt": "a red circle", "timeout_s": _VICTIM_TIMEOUT_S}
    victim = Message(path="/v1/generate", body=json.dumps(body).encode())
    statuses: Counter[int | None] = Counter()
    attacker: Counter[int | None] = Counter()
    loop = asyncio.get_running_loop()

    async def act(_: int) -> None:
        reply = await client.exchange(flood)
        attacker[reply.status] += 1
        if reply.status != 200:
            await asyncio.sleep(0.2)

    async with crowd(act, _FLOOD):
        await asyncio.sleep(1.0)
        ends = loop.time() + seconds
        while loop.time() < ends:
            statuses[(await client.exchange(victim)).status] += 1
    return Target(
        name="pictures beside a flood of priority -100, success",
        unit="",
        limit=_SUCCESS,
        at_least=True,
        measured=statuses[200] / statuses.total(),
        note=f"{_listed(statuses)}; the flood: {_listed(attacker)}",
    )


async def poisoned(client: Client) -> Target:
    """A question behind many long answers, after many that were predicted to be long ended at once."""
    short = [_question(0.0, seed) for seed in range(_POISON)]
    for first in range(0, _POISON, _TOGETHER):
        await asyncio.gather(*(client.exchange(message) for message in short[first : first + _TOGETHER]))
    long = [asyncio.create_task(client.exchange(_question(10.0, seed))) for seed in range(_LONG)]
    await asyncio.sleep(0.5)
    reply = await client.exchange(Bodies(0).next("vqa"))
    let_in = _LONG - sum(one.done() and one.result().status == 503 for one in long)
    for one in long:
        one.cancel()
    await asyncio.gather(*long, return_exceptions=True)
    return Target(
        name="a question behind long answers that admission predicts to be short",
        unit="s",
        limit=_MAX_QUEUE_S + _MARGIN_S,
        measured=_wait(reply),
        note=f"{reply.status}; {let_in} of {_LONG} long ones let in; max_queue_seconds {_MAX_QUEUE_S:g}",
    )


def _question(temperature: float, seed: int) -> Message:
    """Predicted at its token limit; at a high temperature about a hundred tokens, at 0 one."""
    body = {"task": "vqa", "question": "hi", "max_new_tokens": _TOKENS, "temperature": temperature, "seed": seed}
    return Message(path="/v1/infer", body=json.dumps(body).encode())


def _wait(reply: Reply) -> float | None:
    """Seconds of a question that was answered or refused."""
    return reply.end - reply.sent if reply.status in (200, 503) else None


async def _throughput(client: Client, message: Message, seconds: float) -> float:
    """Responses per second of one client that waits for each; a partial one counts partially."""
    loop = asyncio.get_running_loop()
    begun, done = loop.time(), 0.0
    while (left := begun + seconds - loop.time()) > 0:
        sent = loop.time()
        reply = await client.exchange(message)
        if reply.status == 200:
            done += min(left / (reply.end - sent), 1.0)
    return done / seconds


def _listed(statuses: Counter[int | None]) -> str:
    return "; ".join(f"{status}, {count} times" for status, count in statuses.items())
