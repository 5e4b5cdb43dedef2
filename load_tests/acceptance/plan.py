"""How long each phase lasts and how much it offers. It knows numbers only, and sends nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from flashu_core.types import Task
from load_tests.bench.arrivals import Segment

TASKS: tuple[Task, ...] = ("generate", "vqa")
# Of the minutes that are asked for, with one overload; further overloads, slow clients and the capacity, which is
# measured once more, come on top.
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
_RECOVERY_S = 8.0  # it must be longer than the time in which all has to be normal again
_AFTER = 0.5  # of C, when the overload is over
_FILLING = 2.0  # times C, before the saturation is counted


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What is run.

    Attributes:
        minutes: of load, without starting the server.
        pictures: their share of the mix, by count.
        picture_load, answer_load: arrivals beside each other, as shares of what each task alone comes to.
        overloads: times C.

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
        """Of a phase with its lead-in."""
        return _SHARES[phase] * self.minutes * 60

    def lead(self, phase: str) -> float:
        return _LEAD * self.seconds(phase)

    def beside(self, phase: str, capacity: Mapping[Task, float], tasks: tuple[Task, ...] = TASKS) -> list[Segment]:
        """Each task at its share of what it comes to alone; with fewer tasks the same requests of those."""
        loads: Mapping[Task, float] = {"generate": self.picture_load, "vqa": self.answer_load}
        rates = {task: loads[task] * capacity[task] for task in tasks}
        length = "alone" if phase == "alone" else "mixed"
        return self._led(phase, rates, rates, self.seconds(length))

    def saturated(self, capacity: float) -> list[Segment]:
        """C; the lead-in is more, so that the queue that C leads to in the long run is there from the start."""
        return self._led(
            "saturation", self._mixed(_FILLING * capacity), self._mixed(capacity), self.seconds("saturation")
        )

    def overloaded(self, factor: float, capacity: float) -> list[Segment]:
        """So many times C, and at once after it a half of C."""
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
    """The name of the phase behind it."""
    return f"after {factor:g}x"
