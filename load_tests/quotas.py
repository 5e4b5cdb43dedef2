"""Two keys on one server, one of which asks for ten times its share: what the other one gets."""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter
from dataclasses import dataclass

from load_tests.bodies import Bodies
from load_tests.client import Client

GREEDY_RATE = 10.0  # times its share


@dataclass(frozen=True, kw_only=True, slots=True)
class Share:
    """Statuses of what each key asked for."""

    greedy: Counter[int | None]
    modest: Counter[int | None]

    @property
    def success(self) -> float | None:
        """The modest one's."""
        return self.modest[200] / self.modest.total() if self.modest else None


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

    async def ask(name: str, client: Client) -> None:
        statuses[name][(await client.exchange(bodies.next("vqa"))).status] += 1

    async def keep_asking(name: str, rate: float) -> None:
        client = Client(base_url, api_key=keys[name])
        loop = asyncio.get_running_loop()
        begun = loop.time()
        asked = []
        for index in range(round(rate * seconds)):
            await asyncio.sleep(max(begun + index / rate - loop.time(), 0.0))
            asked.append(asyncio.create_task(ask(name, client)))
        await asyncio.gather(*asked)

    await asyncio.gather(keep_asking("greedy", GREEDY_RATE * per_s), keep_asking("modest", 0.9 * per_s))
    return Share(greedy=statuses["greedy"], modest=statuses["modest"])
