"""Values that only one client uses: a thousand distinct policy overrides, none of which may stay in memory, and some
nearly equal to another client's, which must not change a pixel of that client's images."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import random
from collections.abc import Collection, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from flashu_core.types import Task
from load_tests.acceptance.attacks.rig import Rig
from load_tests.acceptance.processes import front_end_of, resident, worker_of
from load_tests.acceptance.server_process import ServerProcess
from load_tests.acceptance.soak import Held, Soak
from load_tests.acceptance.target import Target
from load_tests.bench.client import Client, Message

_REQUESTS = 1000
_TOGETHER = 8
_MAX_GROWTH_MB = 1.0  # per thousand requests, as in the soak test
_NEAR = 1e-10
_LAYERS = 9  # of the embedded model, after which tokens can be pruned
_RATIOS = (0.25, 0.5)  # other clients' own overrides, at which the number of neurons changes
_ROUNDED = 4e-7  # numbers that close are equal when rounded to six digits
# The policy's own value of each parameter, which no other request may change.
_OWN: Mapping[str, float] = {
    "ffn_ratio": 0.2,
    "hybrid_threshold": 0.3,
    "skip_ratio": 0.2,
    "points": 0.7,
    "low_guidance": 0.75,
    "guidance_threshold": 0.3,
}


async def run(rig: Rig) -> Sequence[Target]:
    """Compares images of one server, generated before anything else, with those of a second one after the attack."""
    with rig.server() as one:
        before = await _victims(Client(one.base_url))
        found = await grow(one, rig.seed)
    with rig.server() as two:
        client = Client(two.base_url)
        for overrides in near_overrides():
            await _picture(client, overrides, seed=2)
        after = await _victims(client)
    changed = sum(int((mine != others).any(axis=-1).sum()) for mine, others in zip(before, after, strict=True))
    return [
        *found,
        Target(
            name="pixels of others' images changed by nearly equal overrides",
            unit="",
            limit=0,
            measured=changed,
            note=f"{len(near_overrides())} overrides; {len(before)} pictures",
        ),
    ]


def near_overrides() -> list[Mapping[str, float]]:
    """The attacker's overrides, sent before all other requests."""
    own = [{name: value + sign * _NEAR} for name, value in _OWN.items() for sign in (1, -1)]
    return [*own, *({"ffn_ratio": ratio + _ROUNDED} for ratio in _RATIOS)]


async def grow(server: ServerProcess, seed: int) -> list[Target]:
    """Memory growth of both processes for overrides that are used once."""
    client = Client(server.base_url)
    processes = {"worker": [worker_of(server.pid)], "front end": front_end_of(server.pid)}
    rng = random.Random(seed)
    held: dict[str, list[Held]] = {name: [] for name in processes}
    statuses: set[int | None] = set()
    for sent in range(0, _REQUESTS, _TOGETHER):
        replies = await asyncio.gather(*(client.exchange(distinct(rng, task)) for task in _tasks()))
        statuses |= {reply.status for reply in replies}
        for name, those in processes.items():
            held[name].append(Held(requests=sent, memory=resident(those), descriptors=0, threads=0))
    return judge_growth(held, statuses)


def judge_growth(held: Mapping[str, Sequence[Held]], statuses: Collection[int | None]) -> list[Target]:
    """The promise is missed if a request failed."""
    soak = Soak(held={name: list(samples) for name, samples in held.items()})
    answered = set(statuses) == {200}
    return [
        Target(
            name=f"growth of the {name} for 1000 distinct overrides",
            unit="MB",
            limit=_MAX_GROWTH_MB,
            measured=grown / 1e6 if answered and (grown := soak.growth_per_1000(name)) is not None else None,
            note=f"{_REQUESTS} requests" if answered else f"statuses {sorted(map(str, statuses))}",
        )
        for name in held
    ]


def _tasks() -> Sequence[Task]:
    """Mostly questions, because they cost less than images."""
    questions: list[Task] = ["vqa"] * (_TOGETHER - 1)
    return [*questions, "generate"]


def distinct(rng: random.Random, task: Task) -> Message:
    """A small request with a distinct value of every parameter."""
    overrides: dict[str, float] = {
        "ffn_ratio": rng.uniform(0.01, 0.9),
        "hybrid_threshold": rng.random(),
        "skip_ratio": rng.uniform(0.01, 0.9),
        "skip_interval": rng.randint(1, 1000),
    }
    if task == "generate":
        overrides |= {
            "points": rng.uniform(0.01, 10.0),
            "low_guidance": rng.uniform(0.0, 10.0),
            "guidance_threshold": rng.random(),
            "head_interval": rng.randint(1, 1000),
        }
        own: dict[str, object] = {"prompt": "a red circle", "num_inference_steps": 2}
        own |= {"guidance_scale": rng.uniform(1.0, 100.0), "seed": rng.getrandbits(60)}
    else:
        overrides |= {"token_ratio": rng.uniform(0.01, 0.9), "token_layer": rng.randint(1, _LAYERS)}
        own = {"question": "hi", "max_new_tokens": 2, "temperature": rng.uniform(0.1, 2.0), "top_p": rng.random()}
    body = {"task": task, **own, "acceleration": overrides}
    return Message(path="/v1/infer", body=json.dumps(body).encode())


async def _victims(client: Client) -> list[NDArray[np.uint8]]:
    overrides: list[Mapping[str, float]] = [{}, *({"ffn_ratio": ratio} for ratio in _RATIOS)]
    return [await _picture(client, one, seed=1) for one in overrides]


async def _picture(client: Client, overrides: Mapping[str, float], *, seed: int) -> NDArray[np.uint8]:
    """Pixels of a generated image.

    Raises:
        RuntimeError: the request failed.
    """
    body = {"prompt": "a red circle", "seed": seed, "acceleration": {"policy": "flashu", **overrides}}
    reply = await client.exchange(Message(path="/v1/generate", body=json.dumps(body).encode()))
    if reply.status != 200:
        raise RuntimeError(f"a picture alone: status {reply.status}, {reply.error or reply.body[:200]!r}")
    file = base64.b64decode(json.loads(reply.body)["images"][0]["b64_json"])
    return np.asarray(Image.open(io.BytesIO(file)).convert("RGB"))
