"""Hostile requests: decompression bombs, deeply nested or endless bodies, NaN, Inf and invalid numbers. Each must be
rejected fast, without delaying other clients."""

from __future__ import annotations

from collections.abc import Sequence

from load_tests.acceptance import hostile
from load_tests.acceptance.attacks.rig import Rig
from load_tests.acceptance.harm import Refusal, Stall, send_all, stalls
from load_tests.acceptance.target import Target
from load_tests.bench.client import Client

_REPEATS = 3  # of each hostile image
_BOMB_S, _NUMBER_S, _STALL_S = 0.2, 0.05, 0.1


async def run(rig: Rig) -> Sequence[Target]:
    with rig.server() as server:
        client = Client(server.base_url)
        await send_all(client, hostile.numbers())  # a first time, not counted: some work is done once per process
        numbers = await send_all(client, hostile.numbers())
        pictures = hostile.pictures()
        bombs = [refusal for _ in range(_REPEATS) for refusal in await send_all(client, pictures)]
        stalled = await stalls(client, {**hostile.bodies(), **hostile.endless_bodies(), **pictures})
    return judge(numbers, bombs, stalled)


def judge(numbers: Sequence[Refusal], bombs: Sequence[Refusal], stalled: Sequence[Stall]) -> list[Target]:
    """Compares the observations with the promises; the first stall is of the idle server."""
    seen: Sequence[Refusal | Stall] = [*numbers, *bombs, *stalled[1:]]
    passed = [f"{one.name}: {one.status}" for one in seen if not _refused(one.status)]
    return [
        _slowest("NaN, Inf and invalid numbers, rejected", numbers, _NUMBER_S),
        _slowest("decompression bombs, rejected", bombs, _BOMB_S),
        _longest(stalled),
        Target(
            name="hostile requests not rejected",
            unit="",
            limit=0,
            measured=len(passed),
            note="; ".join(sorted(set(passed))),
        ),
    ]


def _slowest(name: str, refusals: Sequence[Refusal], limit: float) -> Target:
    worst = max(refusals, key=lambda one: one.seconds)
    return Target(
        name=name, unit="s", limit=limit, measured=worst.seconds, note=f"{worst.name}, of {len(refusals)} requests"
    )


def _longest(stalled: Sequence[Stall]) -> Target:
    quiet, *others = stalled
    worst = max(others, key=lambda one: one.waited_s)
    return Target(
        name="another client's longest wait beside hostile requests",
        unit="s",
        limit=_STALL_S,
        measured=worst.waited_s,
        note=f"{worst.name}; idle {1000 * quiet.waited_s:.0f} ms",
    )


def _refused(status: int | None) -> bool:
    return status is not None and 400 <= status < 500
