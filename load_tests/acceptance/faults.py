"""Injects faults into a server under load (signals to its processes, clients that disconnect) and measures how long the
server takes to handle them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import psutil

from load_tests.acceptance.processes import runs, worker_of
from load_tests.acceptance.server_process import ServerProcess
from load_tests.acceptance.sockets import connected, head
from load_tests.bench.client import Client, Message, Reply

_EVERY_S = 0.005  # polling interval
_TIMEOUT_S = 120.0
_STEPS = 40  # of an image that runs for a while
_CONCURRENT = 4
_CROWD = 40  # more than the engine runs at once, so that some wait
_MORE_S = 0.3
_LONG = 900  # denoising steps of requests whose clients disconnect
_DRAINED = (False,) * 5 + (True,) * 3  # whether each request streams


class StillNotError(RuntimeError):
    """A condition was not met in time."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Death:
    """A worker that received a signal in the middle of a batch.

    Attributes:
        notified_s: seconds until the last active request had a response.
        statuses: of the responses; None is a connection without one.
        again_s: seconds until the next image was generated.
    """

    notified_s: float
    statuses: Counter[int | None]
    again_s: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Drain:
    """A server that received SIGTERM in the middle of a batch.

    Attributes:
        unready_s: seconds until it was no longer ready, or no longer listened.
        lost: number of active requests without a complete response.
        under_way: number of active requests.
        ended_s: seconds until its process had exited.
        exit_status: of the process; None if it still runs.
    """

    unready_s: float
    lost: int
    under_way: int
    ended_s: float
    exit_status: int | None


@dataclass(slots=True)
class Faults:
    """Injects faults, one at a time, into an otherwise idle server."""

    server: ServerProcess
    client: Client
    _seed: int = field(default=0, init=False)

    def worker(self) -> psutil.Process:
        """The process that holds the engine."""
        return worker_of(self.server.pid)

    async def generate(self) -> None:
        """Generates an image with default options, alone."""
        reply = await self.client.exchange(Message(path="/v1/generate", body=b'{"prompt": "a red circle"}'))
        if reply.status != 200:
            raise StillNotError(f"a picture alone: status {reply.status}, {reply.error or reply.body[:200]!r}")

    async def signal_worker(self, number: signal.Signals) -> Death:
        """Sends the worker a signal in the middle of a batch."""
        now = asyncio.get_running_loop().time
        begun, notified_s, statuses = await self._strike(number)
        while (await self.client.exchange(self._picture(1))).status != 200:
            self._give_up(begun, "a picture after the worker's death")
            await asyncio.sleep(_EVERY_S)
        return Death(notified_s=notified_s, statuses=statuses, again_s=now() - begun)

    async def stop_worker(self) -> tuple[float, Counter[int | None]]:
        """Stops the worker in the middle of a batch; returns seconds until the last response, and all statuses."""
        _, notified_s, statuses = await self._strike(signal.SIGSTOP)
        return notified_s, statuses

    async def _strike(self, number: signal.Signals) -> tuple[float, float, Counter[int | None]]:
        """Time of the signal, seconds until the last active request's response, and the statuses."""
        under_way = await self._under_way([self._picture(_STEPS) for _ in range(_CONCURRENT)])
        begun = asyncio.get_running_loop().time()
        self.worker().send_signal(number)
        replies = await asyncio.gather(*under_way)
        return begun, max(reply.end for reply in replies) - begun, Counter(reply.status for reply in replies)

    async def leave(self, *, stream: bool = False, crowd: bool = False) -> float:
        """Seconds until no request is active after one client disconnects, in a stream or not, or after many do, some
        of them waiting in the queue."""
        await self._until_load(0)
        messages = [self._picture(_LONG, stream=stream) for _ in range(_CROWD if crowd else 1)]
        under_way = await self._under_way(messages)
        begun = asyncio.get_running_loop().time()
        for one in under_way:
            one.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
        await self._until_load(0)
        return asyncio.get_running_loop().time() - begun

    async def leave_after(self, more: bytes) -> float:
        """Seconds until no request is active after a client disconnects that sent more than its request."""
        await self._until_load(0)
        loop = asyncio.get_running_loop()
        message = self._picture(_LONG)
        length = f"Content-Length: {len(message.body)}"
        request = head(self.client, f"POST {message.path}", f"Content-Type: {message.media}", length) + message.body
        async with connected(self.client) as one:
            await loop.sock_sendall(one, request)
            await self._until_load(1)
            with contextlib.suppress(OSError, asyncio.TimeoutError):  # the server may have stopped reading or closed it
                await asyncio.wait_for(loop.sock_sendall(one, more), _MORE_S)
            await asyncio.sleep(_MORE_S)
        begun = loop.time()
        await self._until_load(0)
        return loop.time() - begun

    async def drain(self, grace_s: float) -> Drain:
        """Sends SIGTERM and waits up to `grace_s` seconds for the exit."""
        under_way = await self._under_way([self._picture(_STEPS, stream=stream) for stream in _DRAINED])
        now = asyncio.get_running_loop().time
        begun = now()
        os.kill(self.server.pid, signal.SIGTERM)
        while (await self.client.exchange(Message(method="GET", path="/readyz"))).status == 200:
            self._give_up(begun, "a server that is no longer ready")
            await asyncio.sleep(_EVERY_S)
        unready = now() - begun
        replies = await asyncio.gather(*under_way)
        exit_status = await asyncio.to_thread(self.server.wait, grace_s)
        return Drain(
            unready_s=unready,
            lost=sum(not _whole(reply) for reply in replies),
            under_way=len(replies),
            ended_s=now() - begun,
            exit_status=exit_status,
        )

    async def orphan(self) -> float:
        """Seconds until the worker exits after the front end is killed."""
        worker = self.worker()
        under_way = await self._under_way([self._picture(_LONG)])
        now = asyncio.get_running_loop().time
        begun = now()
        os.kill(self.server.pid, signal.SIGKILL)
        while runs(worker):
            self._give_up(begun, "the worker's end")
            await asyncio.sleep(_EVERY_S)
        seconds = now() - begun
        await asyncio.gather(*under_way)
        return seconds

    async def _under_way(self, messages: Sequence[Message]) -> list[asyncio.Task[Reply]]:
        """Sends all messages and returns once the server runs them or has them in its queue."""
        tasks = [asyncio.create_task(self.client.exchange(message)) for message in messages]
        await self._until_load(len(tasks), tasks)
        return tasks

    async def _until_load(self, count: int, under_way: Sequence[asyncio.Task[Reply]] = ()) -> None:
        begun = asyncio.get_running_loop().time()
        while await self._load() != count:
            if ended := [task.result().status for task in under_way if task.done()]:
                raise StillNotError(f"{count} active requests: some have ended already, with {ended}")
            self._give_up(begun, f"{count} active requests")
            await asyncio.sleep(_EVERY_S)

    async def _load(self) -> int:
        reply = await self.client.exchange(Message(method="GET", path="/health"))
        load = json.loads(reply.body or b"{}")
        return int(load.get("running", -1)) + int(load.get("waiting", 0))

    def _picture(self, steps: int, *, stream: bool = False) -> Message:
        """A generation request with a seed of its own."""
        self._seed += 1
        body = {"prompt": "a red circle", "num_inference_steps": steps + 1, "seed": self._seed, "stream": stream}
        return Message(path="/v1/generate", body=json.dumps(body).encode())

    @staticmethod
    def _give_up(begun: float, what: str) -> None:
        if asyncio.get_running_loop().time() > begun + _TIMEOUT_S:
            raise StillNotError(f"{what}: not seen within {_TIMEOUT_S:g} s")


def _whole(reply: Reply) -> bool:
    """Whether a response is complete: a body, or a stream with its last event."""
    if reply.status != 200 or reply.error is not None:
        return False
    return b"event: done" in reply.body if "event-stream" in reply.headers.get("content-type", "") else True
