"""Two keys on one server, one of which asks for ten times its share: what the other one gets. And one key that asks for
all its work at once: how much of it is done."""

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
_REST_S = 1.0
_OTHER_ROWS = 2  # of a picture that is finished: its prefix, and its decoding


@dataclass(frozen=True, kw_only=True, slots=True)
class Share:
    """Statuses of what each key asked for."""

    greedy: Counter[int | None]
    modest: Counter[int | None]

    @property
    def success(self) -> float | None:
        """The modest one's."""
        return self.modest[200] / self.modest.total() if self.modest else None


@dataclass(frozen=True, kw_only=True, slots=True)
class Work:
    """What became of one key's requests.

    Attributes:
        steps: denoising steps that the server ran in all, by its own metrics.
    """

    statuses: Counter[int | None]
    steps: float


def two_keys() -> dict[str, str]:
    """Names and keys, made for one run."""
    return {name: secrets.token_urlsafe() for name in ("greedy", "modest")}


async def share(base_url: str, keys: dict[str, str], *, per_s: float, seconds: float, seed: int) -> Share:
    """One key asks ten times as often as it may, the other nearly as often as it may.

    Args:
        per_s: questions that a key may ask in a second.
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
    """One key asks for pictures side by side, a third of which it leaves and a third of which come too late."""
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
    await asyncio.sleep(_REST_S)  # what is left ends at the next unit
    rows = _rows(await scrape(client)) - _rows(before)
    return Work(statuses=statuses, steps=rows - _OTHER_ROWS * statuses[200])


def _rows(samples: Samples) -> float:
    """Of all units of pictures, whatever became of them."""
    return samples.get((f"{BATCH_SIZE}_sum", (("task", "generate"),)), 0.0)
