"""Two keys on one server, one of which sends ten times its share: the success of the other. And one key that sends all
its work at once: how much of it runs."""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
from collections import Counter
from dataclasses import dataclass

from load_tests.bench.bodies import Bodies
from load_tests.bench.client import Client, Message
from load_tests.bench.scrape import BATCH_SIZE, Samples, scrape

GREEDY_RATE = 10.0  # times its share
_STEPS = 51
_PICTURES = 24
_TOGETHER = 8
_DEADLINE_S = 1.0
_PAUSE_S = 1.0
_OTHER_ROWS = 2  # of a completed image: its prefix and its VAE decoding


@dataclass(frozen=True, kw_only=True, slots=True)
class Share:
    """Statuses of each key's requests."""

    greedy: Counter[int | None]
    modest: Counter[int | None]

    @property
    def success(self) -> float | None:
        """Share of the modest key's requests with status 200."""
        return self.modest[200] / self.modest.total() if self.modest else None


@dataclass(frozen=True, kw_only=True, slots=True)
class Work:
    """The result of one key's requests.

    Attributes:
        steps: denoising steps that the server ran in all, by its metrics.
    """

    statuses: Counter[int | None]
    steps: float


def two_keys() -> dict[str, str]:
    """Names and keys, made for one run."""
    return {name: secrets.token_urlsafe() for name in ("greedy", "modest")}


async def share(base_url: str, keys: dict[str, str], *, per_s: float, seconds: float, seed: int) -> Share:
    """One key sends ten times its limit, the other nearly its limit.

    Args:
        per_s: limit of a key, in questions per second.
    """
    statuses: dict[str, Counter[int | None]] = {name: Counter() for name in keys}
    bodies = Bodies(seed)

    async def send(name: str, client: Client) -> None:
        statuses[name][(await client.exchange(bodies.next("vqa"))).status] += 1

    async def keep_sending(name: str, rate: float) -> None:
        client = Client(base_url, api_key=keys[name])
        loop = asyncio.get_running_loop()
        begun = loop.time()
        requested = []
        for index in range(round(rate * seconds)):
            await asyncio.sleep(max(begun + index / rate - loop.time(), 0.0))
            requested.append(asyncio.create_task(send(name, client)))
        await asyncio.gather(*requested)

    await asyncio.gather(keep_sending("greedy", GREEDY_RATE * per_s), keep_sending("modest", 0.9 * per_s))
    return Share(greedy=statuses["greedy"], modest=statuses["modest"])


async def parallel_work(base_url: str, key: str) -> Work:
    """One key generates images in parallel; it abandons a third of them and a third times out."""
    client = Client(base_url, api_key=key)
    before = await scrape(client)
    statuses: Counter[int | None] = Counter()

    async def generate(number: int) -> None:
        body: dict[str, object] = {"prompt": "a", "num_inference_steps": _STEPS, "seed": number}
        if number % 3 == 1:
            body["timeout_s"] = _DEADLINE_S
        message = Message(path="/v1/generate", body=json.dumps(body).encode())
        leaves_after = _DEADLINE_S if number % 3 == 2 else None
        with contextlib.suppress(asyncio.TimeoutError):
            statuses[(await asyncio.wait_for(client.exchange(message), leaves_after)).status] += 1

    for first in range(0, _PICTURES, _TOGETHER):
        await asyncio.gather(*(generate(first + number) for number in range(_TOGETHER)))
    await asyncio.sleep(_PAUSE_S)  # abandoned requests end at the next unit
    rows = _rows(await scrape(client)) - _rows(before)
    return Work(statuses=statuses, steps=rows - _OTHER_ROWS * statuses[200])


def _rows(samples: Samples) -> float:
    """Rows of all units of generation, whatever their outcome."""
    return samples.get((f"{BATCH_SIZE}_sum", (("task", "generate"),)), 0.0)
