"""A soak test: valid, invalid and abandoned requests at once for a long time, and the memory, file descriptors and
threads of the server's processes meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import psutil

from load_tests.bench.bodies import Bodies
from load_tests.bench.client import Client, Message
from load_tests.bench.statistics import quantile

_EVERY_S = 1.0
_CLIENTS = 6
_LONGEST_STAY_S = 0.5  # of clients that abandon their request
_LONGEST_ACT_S = 0.3
_SHARES = {"vqa": 0.4, "generate": 0.1, "other": 0.15, "bad": 0.15, "odd": 0.05, "left": 0.15}
Act = Callable[[Client], Awaitable[object]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Repertoire:
    """Requests beside plain images and answers.

    Attributes:
        other: picks a valid request of another kind.
        bad: requests that must be rejected.
        odd: actions that no HTTP client does, abandoned after a moment.
    """

    other: Callable[[random.Random], Message]
    bad: Sequence[Message]
    odd: Sequence[Act]


@dataclass(frozen=True, kw_only=True, slots=True)
class Held:
    """A sample of a process.

    Attributes:
        requests: number sent until then.
        memory: resident bytes.
    """

    requests: int
    memory: int
    descriptors: int
    threads: int


@dataclass(slots=True)
class Soak:
    """Requests that were sent, and a sample of each process per second.

    Attributes:
        sent: count by kind.
        statuses: of all responses; None is a connection that ended without one.
    """

    sent: Counter[str] = field(default_factory=Counter)
    statuses: Counter[int | None] = field(default_factory=Counter)
    held: dict[str, list[Held]] = field(default_factory=dict)

    def growth_per_1000(self, process: str) -> float | None:
        """Growth of its memory in bytes per 1000 requests, in the second half: the median of the last quarter less that
        of the one before. None with too few samples."""
        samples = self.held[process]
        third, fourth = _quarter(samples, 2), _quarter(samples, 3)
        if not third or not fourth:
            return None
        requests = _median([one.requests for one in fourth]) - _median([one.requests for one in third])
        grown = _median([one.memory for one in fourth]) - _median([one.memory for one in third])
        return 1000 * grown / requests if requests > 0 else None

    def more_at_the_end(self, process: str, what: str) -> float | None:
        """How much the median of `descriptors` or `threads` in the last quarter exceeds that in the second."""
        second, fourth = _quarter(self.held[process], 1), _quarter(self.held[process], 3)
        if not second or not fourth:
            return None
        return _median([getattr(one, what) for one in fourth]) - _median([getattr(one, what) for one in second])

    def to_json(self) -> dict[str, Any]:
        """Counts, and a hundred of the samples."""
        return {
            "sent": dict(self.sent),
            "statuses": {str(status): count for status, count in self.statuses.items()},
            "held": {
                name: [asdict(one) for one in samples[:: max(len(samples) // 100, 1)]]
                for name, samples in self.held.items()
            },
        }


async def soak(
    client: Client, processes: dict[str, psutil.Process], repertoire: Repertoire, seconds: float, seed: int
) -> Soak:
    """Keeps a few clients busy for `seconds`.

    Args:
        processes: the server's processes by name.
    """
    found = Soak(held={name: [] for name in processes})
    ends = asyncio.get_running_loop().time() + seconds
    watching = asyncio.create_task(_watchdog(found, processes))
    try:
        await asyncio.gather(
            *(_one_client(found, client, repertoire, ends, f"{seed}/{one}") for one in range(_CLIENTS))
        )
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
    return found


async def _watchdog(found: Soak, processes: dict[str, psutil.Process]) -> None:
    while True:
        await asyncio.sleep(_EVERY_S)
        for name, process in processes.items():
            with process.oneshot():
                held = Held(
                    requests=found.sent.total(),
                    memory=process.memory_info().rss,
                    descriptors=process.num_fds(),
                    threads=process.num_threads(),
                )
            found.held[name].append(held)


async def _one_client(found: Soak, client: Client, repertoire: Repertoire, ends: float, seed: str) -> None:
    rng = random.Random(seed)
    bodies = Bodies(rng.randrange(2**31))
    loop = asyncio.get_running_loop()
    while loop.time() < ends:
        kind = rng.choices(list(_SHARES), list(_SHARES.values()))[0]
        found.sent[kind] += 1
        if kind == "bad":
            reply = await client.exchange(rng.choice(repertoire.bad))
        elif kind == "other":
            reply = await client.exchange(repertoire.other(rng))
        elif kind == "odd":
            with contextlib.suppress(OSError, asyncio.TimeoutError):
                await asyncio.wait_for(rng.choice(repertoire.odd)(client), _LONGEST_ACT_S)
            continue
        elif kind == "left":
            given_up = asyncio.create_task(client.exchange(bodies.next(rng.choice(("generate", "vqa")))))
            await asyncio.sleep(rng.random() * _LONGEST_STAY_S)
            given_up.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                found.statuses[(await given_up).status] += 1
            continue
        else:
            reply = await client.exchange(bodies.next("vqa" if kind == "vqa" else "generate"))
        found.statuses[reply.status] += 1


def _quarter(samples: Sequence[Held], index: int) -> Sequence[Held]:
    size = len(samples) // 4
    return samples[index * size : (index + 1) * size]


def _median(values: Sequence[float]) -> float:
    found = quantile(values, 0.5)
    assert found is not None
    return found
