"""Search for the highest rate at which a probe's objectives are met, by doubling, then bisection.

Rates are compared by ratio, because capacity is known to a relative precision. A probe is a measurement and can err
near the limit; all are kept, so that contradictions between them show.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from flashu_core.types import Task
from load_tests.bench.slo import Objective

_BEYOND = 5.0  # minimum requests beyond a percentile, so that it does not depend on the slowest one alone


@dataclass(frozen=True, kw_only=True, slots=True)
class Probe:
    """A rate that was tried, with its figures."""

    rate: float
    met: bool
    summary: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Search:
    """Parameters of the search.

    Attributes:
        start: the first rate.
        lowest, highest: limits of the rate.
        precision: the search ends when the lowest missed rate is within this relative distance of the highest met one.
        maximum: number of probes.

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
                f"cannot search from {self.start:g} between {self.lowest:g} and {self.highest:g} requests per second; "
                "use 0 < lowest <= start <= highest"
            )
        if not 0.001 <= self.precision <= 1.0:
            raise ValueError(f"the precision is {self.precision:g}; it must be from 0.001 to 1")
        if self.maximum < 1:
            raise ValueError(f"the number of probes is {self.maximum}; it must be at least 1")

    async def run(self, probe: Callable[[float], Awaitable[Probe]]) -> Found:
        """Probes until the limit is known to the precision, or `maximum` probes have run."""
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
    """All probes, in order."""

    probes: Sequence[Probe]

    @property
    def capacity(self) -> float | None:
        """The highest rate that met the objectives; None if none did."""
        return max((one.rate for one in self.probes if one.met), default=None)

    @property
    def missed(self) -> float | None:
        """The lowest rate that missed them; None if none did."""
        return min((one.rate for one in self.probes if not one.met), default=None)

    def to_json(self) -> dict[str, Any]:
        return {
            "capacity_per_s": self.capacity,
            "missed_per_s": self.missed,
            "probes": [{"rate": one.rate, "met": one.met, **one.summary} for one in self.probes],
        }


def seconds_needed(rate: float, mix: Mapping[Task, float], objectives: Sequence[Objective]) -> float:
    """Minimum duration of a probe so that five requests of its task lie beyond every percentile; for p100, that there
    are five."""
    return max(
        (
            _BEYOND / (1 - one.percent / 100 if one.percent < 100 else 1.0) / (rate * mix[one.task])
            for one in objectives
            if one.task in mix
        ),
        default=0.0,
    )
