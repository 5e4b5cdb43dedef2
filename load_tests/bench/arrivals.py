"""Arrival times of requests: a seeded Poisson process per task, or even spacing, over a sequence of segments.

The Poisson process is conditioned on its count: exactly rate x seconds arrivals, at independent uniform times. A short
run therefore offers the requested rate, with otherwise natural irregularity.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from flashu_core.types import Task

Spacing = Literal["poisson", "constant"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Segment:
    """A period with constant rates.

    Attributes:
        rates: requests per second of each task.
        counted: False for a lead-in, which brings the server into the phase's steady state.

    Raises:
        ValueError: the duration or a rate is out of range.
    """

    phase: str
    seconds: float
    rates: Mapping[Task, float]
    counted: bool = True

    def __post_init__(self) -> None:
        if not 0.0 < self.seconds < math.inf:
            raise ValueError(f"a segment lasts {self.seconds} s; it must be above 0 and finite")
        for task, rate in self.rates.items():
            if not 0.0 <= rate < math.inf:
                raise ValueError(f"the rate of {task} is {rate} a second; it must be at least 0 and finite")


@dataclass(frozen=True, kw_only=True, slots=True)
class Arrival:
    """A request scheduled `at` seconds after the start of the first segment."""

    at: float
    task: Task
    phase: str
    counted: bool


@dataclass(frozen=True, slots=True)
class Window:
    """A time interval, in seconds since a common start."""

    start: float
    end: float

    @property
    def seconds(self) -> float:
        return self.end - self.start

    def shifted(self, seconds: float) -> Window:
        return Window(self.start + seconds, self.end + seconds)


def arrivals(segments: Sequence[Segment], seed: int, spacing: Spacing = "poisson") -> list[Arrival]:
    """Arrivals of consecutive segments in order of time; constant spacing applies per task.

    A task's times depend only on the seed, its rate and the segment's length, not on the other task.
    """
    found, start = [], 0.0
    for segment in segments:
        for task, rate in segment.rates.items():
            rng = random.Random(f"{seed}/{task}/{segment.counted}")
            count = round(rate * segment.seconds)
            if spacing == "poisson":
                fractions = [rng.random() for _ in range(count)]
            else:
                shift = rng.random()  # so that two tasks do not arrive in lockstep
                fractions = [(index + shift) / count for index in range(count)]
            found += [
                Arrival(
                    at=start + fraction * segment.seconds,
                    task=task,
                    phase=segment.phase,
                    counted=segment.counted,
                )
                for fraction in fractions
            ]
        start += segment.seconds
    return sorted(found, key=lambda arrival: arrival.at)


def windows(segments: Sequence[Segment]) -> dict[str, Window]:
    """The counted window of each phase; its last segment's if it has several."""
    found, start = {}, 0.0
    for segment in segments:
        if segment.counted:
            found[segment.phase] = Window(start, start + segment.seconds)
        start += segment.seconds
    return found
