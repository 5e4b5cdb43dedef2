"""Uploaded images that are expensive to decode: time to the response, memory of the front end, other clients' waits,
CPU time after the response, and whether the server still stops on SIGTERM."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import psutil

from load_tests.acceptance.attacks.pieces import ended
from load_tests.acceptance.attacks.rig import Rig
from load_tests.acceptance.heavy_pictures import heavy_pictures, refining_scans
from load_tests.acceptance.hostile import FORM, form
from load_tests.acceptance.probe import probing
from load_tests.acceptance.processes import front_end_of, processor_s, watched
from load_tests.acceptance.server_process import ServerProcess
from load_tests.acceptance.target import Target
from load_tests.bench.bodies import Bodies
from load_tests.bench.client import Client, Message

_TIMEOUT_S = 2  # of decoding
_ANSWERED_S = _TIMEOUT_S + 1.0
_GROWTH_MB = 150.0  # of the front end: two files of 18 MB, inside their forms and extracted
_DECODING_MB = 2 * (512 + 64) * 2**20 / 1e6  # image_memory_mib for each of two images, and a process's own
_WAIT_S = 0.1
_QUESTION_S = 2 * _TIMEOUT_S + 1.0  # of another client with an image: it may wait for two that time out
_AFTER_S = 1.0
_USED_AFTER_S = 0.6  # CPU seconds in the second after the responses; restarting two processes takes 0.2
_SHUTDOWN_S = 2
_ENDED_S = _SHUTDOWN_S + 1.0
_TOGETHER = 2
_LAST = 8  # at SIGTERM: each occupies its process until that is killed, and most have to wait


@dataclass(frozen=True, kw_only=True, slots=True)
class Sent:
    """The result of a file that was sent by two clients at once.

    Attributes:
        seconds: until the later response.
        waited_s: another client's longest wait for `/livez`.
        question_s: another client's longest wait for an answer about an image.
        grown: peak growth of the front end's memory in bytes.
        decoding: peak growth of the image processes' memory in bytes.
        used_after_s: CPU seconds of all of them in the second after the responses.
    """

    name: str
    statuses: Sequence[int | None]
    seconds: float
    waited_s: float
    question_s: float
    grown: int
    decoding: int
    used_after_s: float


async def run(rig: Rig) -> Sequence[Target]:
    with rig.server("--shutdown-timeout", str(_SHUTDOWN_S), image_decode_timeout_s=_TIMEOUT_S) as server:
        client = Client(server.base_url)
        await client.exchange(
            Bodies(rig.seed).next("vqa")
        )  # a first time, not counted: some work is done once per process
        sent = [await send(server, client, name, file) for name, file in heavy_pictures().items()]
        return [*judge(sent), await _end_beside(server, client)]


async def send(server: ServerProcess, client: Client, name: str, file: bytes) -> Sent:
    """Sends a file from two clients at once, as many as there are decoding processes."""
    message = Message(path="/v1/vqa", body=form(file), media=FORM)
    front = psutil.Process(server.pid)
    loop = asyncio.get_running_loop()
    question = asyncio.create_task(_questions(client))
    try:
        async with (
            watched(lambda: [front]) as memory,
            watched(lambda: front_end_of(server.pid)[1:]) as decoding,
            probing(client) as waits,
        ):
            begun = loop.time()
            replies = await asyncio.gather(*(client.exchange(message) for _ in range(_TOGETHER)))
            seconds = loop.time() - begun
    finally:
        question_s = await _stopped(question)
    used = processor_s(front_end_of(server.pid))
    await asyncio.sleep(_AFTER_S)
    return Sent(
        name=name,
        statuses=[reply.status for reply in replies],
        seconds=seconds,
        waited_s=waits.longest_s,
        question_s=question_s,
        grown=memory.grown,
        decoding=decoding.grown,
        used_after_s=processor_s(front_end_of(server.pid)) - used,
    )


def judge(sent: Sequence[Sent]) -> list[Target]:
    """The worst file in each respect."""
    harmed = [f"{one.name}: {one.statuses}" for one in sent if not all(map(_good, one.statuses))]
    figures: Mapping[str, tuple[str, float, dict[str, float]]] = {
        "expensive images: answered": ("s", _ANSWERED_S, {one.name: one.seconds for one in sent}),
        "/livez beside expensive images": ("s", _WAIT_S, {one.name: one.waited_s for one in sent}),
        "a question beside expensive images": (
            "s",
            _QUESTION_S,
            {one.name: one.question_s for one in sent},
        ),
        "growth of the front end by expensive images": (
            "MB",
            _GROWTH_MB,
            {one.name: one.grown / 1e6 for one in sent},
        ),
        "growth of the image processes": (
            "MB",
            _DECODING_MB,
            {one.name: one.decoding / 1e6 for one in sent},
        ),
        "CPU time after the response to an expensive image": (
            "s",
            _USED_AFTER_S,
            {one.name: one.used_after_s for one in sent},
        ),
    }
    targets = []
    for name, (unit, limit, values) in figures.items():
        worst = max(values, key=lambda key: values[key])
        targets.append(Target(name=name, unit=unit, limit=limit, measured=values[worst], note=worst))
    return [
        *targets,
        Target(
            name="expensive images neither decoded nor rejected",
            unit="",
            limit=0,
            measured=len(harmed),
            note="; ".join(harmed),
        ),
    ]


async def _end_beside(server: ServerProcess, client: Client) -> Target:
    message = Message(path="/v1/vqa", body=form(refining_scans()), media=FORM)
    under_way = [asyncio.create_task(client.exchange(message)) for _ in range(_LAST)]
    await asyncio.sleep(0.5)
    answered = sum(task.done() for task in under_way)
    try:
        target = await ended(server, "expensive images", _ENDED_S)
    finally:
        await asyncio.gather(*under_way)
    # With responses already sent, the result would be meaningless.
    return replace(target, measured=None, note=f"{answered} were answered before") if answered else target


async def _questions(client: Client) -> float:
    """Sends questions about small images until cancelled; returns the longest wait for an answer."""
    bodies = Bodies(0)
    loop = asyncio.get_running_loop()
    longest, begun = 0.0, loop.time()
    with suppress(asyncio.CancelledError):
        while True:
            begun = loop.time()
            reply = await client.exchange(bodies.next("vqa"))
            longest = max(longest, reply.end - begun)
            begun = loop.time()
    return max(longest, loop.time() - begun)  # including the one that still waits


async def _stopped(question: asyncio.Task[float]) -> float:
    await asyncio.sleep(0)  # so that it has started
    question.cancel()
    return await question


def _good(status: int | None) -> bool:
    """Whether an image was decoded, rejected or timed out."""
    return status is not None and (200 <= status < 500 or status in (503, 504))
