"""When requests arrive: seeded Poisson processes, one for each task, or even spacing, over a row of segments. It knows
times and tasks, nothing of what is sent nor what becomes of it.

A process is conditioned on how many arrive: so many as its rate says, at times independent of each other. So a short
run offers what it says it offers, and is otherwise as irregular as any other.
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
    """A stretch of time with constant rates.

    Attributes:
        rates: requests of each task a second.
        counted: False for a lead-in, which brings the server into the state that the phase is about.

    Raises:
        ValueError: no time, or a rate that cannot be one.
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
    """A request that comes `at` seconds after the first segment began."""

    at: float
    task: Task
    phase: str
    counted: bool


@dataclass(frozen=True, slots=True)
class Window:
    """From one second to another, both since some common start."""

    start: float
    end: float

    @property
    def seconds(self) -> float:
        return self.end - self.start

    def shifted(self, seconds: float) -> Window:
        return Window(self.start + seconds, self.end + seconds)


def arrivals(segments: Sequence[Segment], seed: int, spacing: Spacing = "poisson") -> list[Arrival]:
    """What arrives in the segments, one after the other, in order of time; constant spacing is that of each task.

    A task's times depend on the seed, its rate and the segment's length only: the same answers arrive whether or not
    pictures do.
    """
    found, start = [], 0.0
    for segment in segments:
        for task, rate in segment.rates.items():
            rng = random.Random(f"{seed}/{task}/{segment.counted}")
            count = round(rate * segment.seconds)
            if spacing == "poisson":
                places = [rng.random() for _ in range(count)]
            else:
                shift = rng.random()  # so that the rows of two tasks do not run in step
                places = [(index + shift) / count for index in range(count)]
            found += [
                Arrival(
                    at=start + place * segment.seconds,
                    task=task,
                    phase=segment.phase,
                    counted=segment.counted,
                )
                for place in places
            ]
        start += segment.seconds
    return sorted(found, key=lambda arrival: arrival.at)


def windows(segments: Sequence[Segment]) -> dict[str, Window]:
    """The counted time of each phase; of the last segment where a phase has several."""
    found, start = {}, 0.0
    for segment in segments:
        if segment.counted:
            found[segment.phase] = Window(start, start + segment.seconds)
        start += segment.seconds
    return found
