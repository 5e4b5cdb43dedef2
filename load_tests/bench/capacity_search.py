"""The highest rate that a probe says is met, by doubling and then bisecting. It knows rates and verdicts; what a probe
does is its caller's to know.

Rates are compared by their ratio, for capacity is known to so many percent. A probe is a measurement and may err near
the limit; every one is kept, so that who reads them sees whether they contradict each other.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from flashu_core.types import Task
from load_tests.bench.slo import Objective

_BEYOND = 5.0  # requests that a percentile leaves out, at least, so that it depends on more than the slowest one


@dataclass(frozen=True, kw_only=True, slots=True)
class Probe:
    """A rate that was tried, and the figures of it."""

    rate: float
    met: bool
    summary: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Search:
    """Where to look.

    Attributes:
        start: the first rate.
        lowest, highest: none beyond is tried.
        precision: the search ends when the lowest rate that missed is at most so much above the highest that met, as a
            share of it.
        most: probes at most.

    Raises:
        ValueError: a number is out of range.
    """

    start: float
    lowest: float = 0.01
    highest: float = 10_000.0
    precision: float = 0.1
    maximum: int = 16

    def __post_init__(self) -> None:
        if not 0.0 < self.lowest <= self.start <= self.highest < math.inf:
            raise ValueError(
                f"the search from {self.start:g} in {self.lowest:g} to {self.highest:g} a second is none; "
                "let lowest <= start <= highest, all above 0"
            )
        if not 0.001 <= self.precision <= 1.0:
            raise ValueError(f"the precision is {self.precision:g}; it must be from 0.001 to 1")
        if self.maximum < 1:
            raise ValueError(f"probes are {self.maximum}; there must be at least 1")

    async def run(self, probe: Callable[[float], Awaitable[Probe]]) -> Found:
        """Probes until the limit is known well enough, or the probes are used up."""
        probes: list[Probe] = []
        met, missed, rate = 0.0, math.inf, self.start
        while len(probes) < self.maximum:
            tried = await probe(rate)
            probes.append(tried)
            if tried.met:
                met = rate
            else:
                missed = rate
            if met and missed < math.inf:
                if missed <= met * (1 + self.precision):
                    break
                rate = math.sqrt(met * missed)
            elif met:
                if rate >= self.highest:
                    break
                rate = min(rate * 2, self.highest)
            else:
                if rate <= self.lowest:
                    break
                rate = max(rate / 2, self.lowest)
        return Found(probes=probes)


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """All probes, in the order they were made."""

    probes: Sequence[Probe]

    @property
    def capacity(self) -> float | None:
        """The highest rate that was met; None where none was."""
        return max((one.rate for one in self.probes if one.met), default=None)

    @property
    def missed(self) -> float | None:
        """The lowest rate that was missed; None where the search ended before one was."""
        return min((one.rate for one in self.probes if not one.met), default=None)

    def to_json(self) -> dict[str, Any]:
        return {
            "capacity_per_s": self.capacity,
            "missed_per_s": self.missed,
            "probes": [{"rate": one.rate, "met": one.met, **one.summary} for one in self.probes],
        }


def seconds_needed(rate: float, mix: Mapping[Task, float], objectives: Sequence[Objective]) -> float:
    """How long a probe has to last so that every percentile leaves out five requests of its task; for p100, that there
    are five."""
    return max(
        (
            _BEYOND / (1 - one.percent / 100 if one.percent < 100 else 1.0) / (rate * mix[one.task])
            for one in objectives
            if one.task in mix
        ),
        default=0.0,
    )
