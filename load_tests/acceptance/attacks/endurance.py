"""A soak test: growth of the processes, and failures."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import partial
from typing import Any

import psutil

from flashu_core.types import Task
from load_tests.acceptance import hostile
from load_tests.acceptance.attacks.departures import listed
from load_tests.acceptance.attacks.overrides import distinct
from load_tests.acceptance.attacks.pieces import attacks
from load_tests.acceptance.attacks.rig import Rig
from load_tests.acceptance.attacks.smuggling import requests
from load_tests.acceptance.processes import worker_of
from load_tests.acceptance.soak import Repertoire, Soak, soak
from load_tests.acceptance.sockets import talk
from load_tests.acceptance.target import Target
from load_tests.bench.client import Client, Message
from load_tests.bench.openai_bodies import openai_bodies

_SMALL = 100_000  # bytes: hostile requests should not dominate the load
_MODEL = "shapes-64"
_DISTINCT = 0.3  # share of one-time overrides among the other requests
_GROWTH = 1_000_000.0  # bytes per thousand requests


async def run(rig: Rig, seconds: float) -> tuple[Sequence[Target], dict[str, Any]]:
    """The promises and the observations."""
    with rig.server() as server:
        processes = {"front end": psutil.Process(server.pid), "worker": worker_of(server.pid)}
        client = Client(server.base_url)
        found = await soak(client, processes, repertoire(client, rig.seed), seconds, rig.seed)
    return judge(found), found.to_json()


def judge(found: Soak) -> list[Target]:
    targets = [
        Target(
            name=f"soak: growth of the {name} for 1000 requests",
            unit="MB",
            limit=_GROWTH / 1e6,
            measured=None if (grown := found.growth_per_1000(name)) is None else grown / 1e6,
            note=f"{found.sent.total()} requests",
        )
        for name in found.held
    ]
    targets += [
        Target(name=f"soak: more {what} of the {name}", unit="", limit=0, measured=found.more_at_the_end(name, what))
        for name in found.held
        for what in ("descriptors", "threads")
    ]
    odd = {status: count for status, count in found.statuses.items() if status is None or status >= 500}
    return [*targets, Target(name="soak: failures", unit="", limit=0, measured=sum(odd.values()), note=listed(odd))]


def repertoire(client: Client, seed: int) -> Repertoire:
    """OpenAI's routes and one-time overrides; small hostile requests; single bytes, and ambiguous requests."""
    of_openai = openai_bodies(_MODEL, seed)
    tasks: Sequence[Task] = ("generate", "vqa")

    def other(rng: random.Random) -> Message:
        return distinct(rng, rng.choice(tasks)) if rng.random() < _DISTINCT else of_openai(rng)

    bad = [*hostile.numbers().values(), *hostile.pictures().values(), *hostile.bodies().values()]
    smuggled = [partial(talk, request=request) for request in requests(client).values()]
    return Repertoire(
        other=other,
        bad=[message for message in bad if len(message.body) <= _SMALL],
        odd=[*attacks().values(), *smuggled],
    )
