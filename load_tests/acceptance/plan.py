"""Duration and load of each phase."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from flashu_core.types import Task
from load_tests.bench.arrivals import Segment

TASKS: tuple[Task, ...] = ("generate", "vqa")
# Of the given minutes, with one overload; further overloads, slow clients and the second measurement of the capacity
# come on top.
_SHARES = {
    "warm-up": 0.04,
    "idle": 0.05,
    "capacity generate": 0.10,
    "capacity vqa": 0.05,
    "capacity mix": 0.11,
    "capacity mix again": 0.11,
    "alone": 0.15,
    "mixed": 0.15,
    "saturation": 0.18,
    "overload": 0.12,
    "recovery": 0.05,
}
_LEAD = 0.15  # of a phase
_RECOVERY_S = 8.0  # must exceed the limit of the recovery time
_AFTER = 0.5  # of C, after the overload
_FILLING = 2.0  # times C, during the lead-in of the saturation


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """The load of a run.

    Attributes:
        minutes: of load, without the server's start.
        pictures: share of generation requests in the mix, by count.
        picture_load, answer_load: rates beside each other, as shares of each task's own C.
        overloads: multiples of C.

    Raises:
        ValueError: a number is out of range.
    """

    minutes: float = 1.0
    pictures: float = 0.3
    picture_load: float = 0.7
    answer_load: float = 0.1
    overloads: tuple[float, ...] = (2.0,)

    def __post_init__(self) -> None:
        if not 0.0 < self.minutes <= 600.0:
            raise ValueError(f"minutes is {self.minutes}; it must be above 0 and at most 600")
        for name, value in (
            ("the share of pictures", self.pictures),
            ("the load of pictures", self.picture_load),
            ("the load of answers", self.answer_load),
        ):
            if not 0.0 < value < 1.0:
                raise ValueError(f"{name} is {value}; it must be between 0 and 1, neither included")
        for factor in self.overloads:
            if not 1.0 < factor < math.inf:
                raise ValueError(f"an overload is {factor:g} times C; it must be above 1")

    @property
    def mix(self) -> Mapping[Task, float]:
        """Shares by count."""
        return {"generate": self.pictures, "vqa": 1.0 - self.pictures}

    def seconds(self, phase: str) -> float:
        """Seconds of a phase, its lead-in included."""
        return _SHARES[phase] * self.minutes * 60

    def lead(self, phase: str) -> float:
        return _LEAD * self.seconds(phase)

    def beside(self, phase: str, capacity: Mapping[Task, float], tasks: tuple[Task, ...] = TASKS) -> list[Segment]:
        """Each task at its share of its own C; with fewer tasks the same requests of those."""
        loads: Mapping[Task, float] = {"generate": self.picture_load, "vqa": self.answer_load}
        rates = {task: loads[task] * capacity[task] for task in tasks}
        length = "alone" if phase == "alone" else "mixed"
        return self._led(phase, rates, rates, self.seconds(length))

    def saturated(self, capacity: float) -> list[Segment]:
        """C, after a lead-in at a higher rate, so that the queue is in its steady state from the start."""
        return self._led(
            "saturation", self._mixed(_FILLING * capacity), self._mixed(capacity), self.seconds("saturation")
        )

    def overloaded(self, factor: float, capacity: float) -> list[Segment]:
        """`factor` times C, directly followed by half of C."""
        rates = self._mixed(factor * capacity)
        after = max(self.seconds("recovery"), min(_RECOVERY_S, self.minutes * 60))
        return [
            *self._led(overload(factor), rates, rates, self.seconds("overload")),
            Segment(phase=recovery(factor), seconds=after, rates=self._mixed(_AFTER * capacity)),
        ]

    def _mixed(self, rate: float) -> dict[Task, float]:
        return {task: share * rate for task, share in self.mix.items()}

    def _led(self, phase: str, before: dict[Task, float], rates: dict[Task, float], seconds: float) -> list[Segment]:
        return [
            Segment(phase=phase, seconds=_LEAD * seconds, rates=before, counted=False),
            Segment(phase=phase, seconds=(1 - _LEAD) * seconds, rates=rates),
        ]


def overload(factor: float) -> str:
    """The phase's name."""
    return f"overload {factor:g}x"


def recovery(factor: float) -> str:
    """The name of the phase after an overload."""
    return f"after {factor:g}x"
