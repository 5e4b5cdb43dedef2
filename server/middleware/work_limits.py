"""How much work each key may ask for: denoising steps and tokens in a window of time. The maximum of a request is
reserved before it runs, so that requests in parallel cannot take more than is left; at its end what really ran is
charged, whatever it ended with. It knows names and numbers, nothing of requests."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from limits import RateLimitItem, parse_many

from flashu_core import ConfigurationError, InvalidRequestError, Task
from server.errors import RateLimitedError
from server.middleware.limit_status import Standing

_REMEDIES = {"generate": "num_inference_steps or n", "vqa": "max_new_tokens"}
_PARAMETERS = {"generate": "num_inference_steps", "vqa": "max_new_tokens"}


@dataclass(slots=True)
class _Counter:
    """Work charged in a sliding window of two counters: the last whole window counts by the share of it that is still
    remaining."""

    window: int = 0
    last: int = 0
    current: int = 0

    def roll(self, window: int) -> None:
        if window != self.window:
            self.last = self.current if window == self.window + 1 else 0
            self.current, self.window = 0, window


@dataclass(slots=True)
class _Use:
    """What one name has used of every limit, and what its running requests have reserved."""

    counters: tuple[_Counter, ...]
    reserved: int = 0


@dataclass(slots=True, eq=False)
class Reservation:
    """Work that one request may take at most; `ran` counts what was run of it, until `settle`."""

    _limits: WorkLimits
    _who: str
    reserved: int
    ran: int = 0
    _open: bool = field(default=True, init=False)

    def add(self, work: int) -> None:
        """So much more of it ran."""
        self.ran += work

    def settle(self) -> None:
        """Charges what ran and frees the rest. Settling again does nothing."""
        if self._open:
            self._open = False
            self._limits.settle(self._who, self.reserved, self.ran)


class WorkLimits:
    """Work that each name may use.

    Args:
        text: as `20000/hour; 100000/day`; None for no limit.
        clock: seconds that only grow.

    Raises:
        ConfigurationError: the text cannot be read.
    """

    def __init__(self, text: str | None, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._limits = parse_limits(text, "work_limit")
        self._clock = clock
        self._uses: dict[str, _Use] = {}

    def __bool__(self) -> bool:
        return bool(self._limits)

    @property
    def size(self) -> int:
        """Names in memory."""
        return len(self._uses)

    def check(self, who: str) -> None:
        """Whether any work is left: cheap, for a refusal before a body is read.

        Raises:
            RateLimitedError
        """
        if who in self._uses:
            self._fit(self._use(who), 1, "send less work")

    def standing(self, who: str) -> Standing | None:
        """What is left of the limit closest to its end; None where there are no limits."""
        counters = self._use(who).counters if who in self._uses else [_Counter() for _ in self._limits]
        reserved = self._uses[who].reserved if who in self._uses else 0
        standings = [
            self._standing(limit, counter, reserved, 1) for limit, counter in zip(self._limits, counters, strict=True)
        ]
        return min(standings, key=lambda standing: standing.share, default=None)

    def reserve(self, who: str, work: int, task: Task) -> Reservation:
        """Takes what a request may use; settle it whatever becomes of the request.

        Raises:
            InvalidRequestError: it is more than the limit ever allows.
            RateLimitedError: it is more than what is left now; `retry_after` is when it fits, if nothing else is used.
        """
        for limit in self._limits:
            if work > limit.amount:
                raise InvalidRequestError(
                    f"the request may take {work} denoising steps and tokens; this key may use {limit.amount} in "
                    f"{limit.get_expiry()} s: lower {_REMEDIES[task]}",
                    parameter=_PARAMETERS[task],
                )
        use = self._use(who)
        self._fit(use, work, f"lower {_REMEDIES[task]}")
        use.reserved += work
        return Reservation(self, who, work)

    def settle(self, who: str, reserved: int, ran: int) -> None:
        """Frees a reservation and charges what ran of it."""
        use = self._use(who)
        use.reserved -= reserved
        for counter in use.counters:
            counter.current += min(ran, reserved)

    def _use(self, who: str) -> _Use:
        use = self._uses.get(who)
        if use is None:
            use = self._uses[who] = _Use(tuple(_Counter() for _ in self._limits))
        for limit, counter in zip(self._limits, use.counters, strict=True):
            counter.roll(int(self._clock() // limit.get_expiry()))
        return use

    def _fit(self, use: _Use, work: int, remedy: str) -> None:
        for limit, counter in zip(self._limits, use.counters, strict=True):
            standing = self._standing(limit, counter, use.reserved, work)
            if standing.reset_s:
                raise RateLimitedError(
                    f"this key may use {limit.amount} denoising steps and tokens in {limit.get_expiry()} s; "
                    f"{standing.remaining} are left and the request may take {work}: {remedy}, or retry in "
                    f"{standing.reset_s} s",
                    retry_after=standing.reset_s,
                    headers=standing.headers,
                )

    def _standing(self, limit: RateLimitItem, counter: _Counter, reserved: int, work: int) -> Standing:
        """What is left of a limit; `reset_s` is 0 where so much work fits."""
        length = limit.get_expiry()
        remaining = length - self._clock() % length  # seconds for which this window goes on
        used = counter.last * remaining / length + counter.current + reserved
        fits = used + work <= limit.amount
        wait = 0.0 if fits else _wait(limit.amount - work, counter, reserved, remaining, length)
        return Standing(
            kind="tokens",
            limit=limit.amount,
            remaining=max(math.floor(limit.amount - used), 0),
            reset_s=0 if fits else max(math.ceil(wait), 1),
        )


def _wait(free: int, counter: _Counter, reserved: int, remaining: float, length: int) -> float:
    """Seconds until what was charged weighs at most `free`, if what is reserved is charged now and nothing more is."""
    current = counter.current + reserved
    if free >= current:
        return remaining - (free - current) * length / counter.last if counter.last else 0.0
    # In the next window what this one holds loses its weight bit by bit.
    return remaining + length * (1.0 - free / current)


def parse_limits(text: str | None, name: str) -> tuple[RateLimitItem, ...]:
    """Limits as an operator writes them.

    Raises:
        ConfigurationError: they cannot be read.
    """
    if text is None:
        return ()
    try:
        limits = tuple(parse_many(text))
    except ValueError:
        limits = ()
    if not limits or any(limit.amount < 1 for limit in limits):
        raise ConfigurationError(f"{name} is {text!r}; write it as 60/minute, or 10/second; 1000/day")
    return limits
