"""How much each key may ask for: requests in a window of time, and work as `server.middleware.work_limits` counts it.
It knows names and numbers; without keys it counts client addresses, in a fixed number of buckets."""

from __future__ import annotations

import hashlib
import math
import secrets
import time
from functools import partial

from limits import RateLimitItem
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.errors import RateLimitedError, problem_of
from server.middleware.limit_status import Standing
from server.middleware.work_limits import WorkLimits, parse_limits
from server.request_record import record_of

_FREE = frozenset({"GET", "HEAD", "OPTIONS"})
_BUCKETS = 4096  # of client addresses; about a kilobyte each


class Ledger:
    """Counts what everybody has used, in a sliding window of two counters, so that a name costs the same memory
    whatever it does. What is refused is not counted.

    Args:
        requests: as `60/minute; 1000/day`.

    Raises:
        ConfigurationError: a limit cannot be read.
    """

    def __init__(self, *, requests: str | None = None) -> None:
        self._requests = parse_limits(requests, "rate_limit")
        self._storage = MemoryStorage()
        self._window = SlidingWindowCounterRateLimiter(self._storage)

    def __bool__(self) -> bool:
        return bool(self._requests)

    @property
    def size(self) -> int:
        """Counters in memory."""
        return len(self._storage.storage)

    async def admit(self, who: str) -> Standing | None:
        """Counts one request and tells what is left; None where there are no limits.

        Raises:
            RateLimitedError: nothing is left, and nothing was counted.
        """
        for limit in self._requests:
            if not await self._window.test(limit, "requests", who):
                raise await self._exceeded(limit, "requests", who)
        for limit in self._requests:
            if not await self._window.hit(limit, "requests", who):
                raise await self._exceeded(limit, "requests", who)
        standings = [await self._standing(limit, "requests", who) for limit in self._requests]
        return min(standings, key=lambda standing: standing.share, default=None)

    async def _standing(self, limit: RateLimitItem, kind: str, who: str) -> Standing:
        stats = await self._window.get_window_stats(limit, kind, who)
        # At the turn of a window the last one still weighs as much as it held; one share later there is room.
        reset = max(stats.reset_time - time.time(), 0.0) + limit.get_expiry() / limit.amount
        return Standing(
            kind="requests", limit=limit.amount, remaining=stats.remaining, reset_s=max(math.ceil(reset), 1)
        )

    async def _exceeded(self, limit: RateLimitItem, kind: str, who: str) -> RateLimitedError:
        standing = await self._standing(limit, kind, who)
        wait = standing.reset_s
        return RateLimitedError(
            f"this key may send {limit.amount} requests in {limit.get_expiry()} s; retry in {wait} s",
            retry_after=wait,
            headers=standing.headers,
        )


class Quotas:
    """Asks the ledger before every request that may make work, tells what is left in OpenAI's headers, and gives the
    request an account of its key's work. What only reads (the list of models, a picture that is kept) is free, and so
    are `open_routes`.

    It stands behind the keys: a name it counts is one that an operator gave, never one that a client made up.
    """

    def __init__(self, app: ASGIApp, *, ledger: Ledger, work: WorkLimits, open_routes: frozenset[str]) -> None:
        self._app = app
        self._ledger = ledger
        self._work = work
        self._open_routes = open_routes
        self._salt = secrets.token_bytes(16)  # so that nobody can choose whose bucket to share

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] in _FREE or scope["path"] in self._open_routes:
            await self._app(scope, receive, send)
            return
        record = record_of(scope)
        who = self._bucket(record.address) if record.key is None else record.client
        standing: Standing | None = None

        async def send_marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for one in (standing, self._work.standing(who)):
                    for name, value in {} if one is None else one.headers.items():
                        headers.setdefault(name, value)  # a refusal has its own reason
            await send(message)

        try:
            if self._work:
                self._work.check(who)
                record.account = partial(self._work.reserve, who)
            standing = await self._ledger.admit(who)
        except RateLimitedError as error:
            problem = problem_of(error)
            record.fail(problem)
            await problem.response()(scope, receive, send_marked)
            return
        await self._app(scope, receive, send_marked)

    def _bucket(self, address: str) -> str:
        digest = hashlib.blake2b(address.encode(), key=self._salt, digest_size=4).digest()
        return f"address:{int.from_bytes(digest, 'big') % _BUCKETS}"
