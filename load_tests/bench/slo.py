"""Latency objectives, such as `vqa:p99=0.5,generate:p95=3`, and whether records meet them. Refused, failed and broken
requests miss them."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from flashu_core.types import Task
from load_tests.bench.record import Record

Measure = Literal["latency", "first"]
TASKS: tuple[Task, ...] = get_args(Task)
_TERM = re.compile(r"(?P<task>[a-z]+):(?P<first>first_)?p(?P<percent>\d+(?:\.\d+)?)=(?P<limit>\d+(?:\.\d*)?)")


@dataclass(frozen=True, kw_only=True, slots=True)
class Objective:
    """`percent` percent of a task's requests complete within `limit_s` seconds.

    Attributes:
        percent: above 0, at most 100.
        limit_s: from the scheduled time.
        measure: to the end of the reply, or to the first event of a streamed result.

    Raises:
        ValueError: a number is out of range.
    """

    task: Task
    percent: float
    limit_s: float
    measure: Measure = "latency"

    def __post_init__(self) -> None:
        if not 0.0 < self.percent <= 100.0:
            raise ValueError(f"p{self.percent:g} is not a percentile; it must be above 0 and at most 100")
        if not 0.0 < self.limit_s < math.inf:
            raise ValueError(f"the limit of {self.name} is {self.limit_s:g} s; it must be above 0")

    @property
    def name(self) -> str:
        return f"{self.task}:{'first_' if self.measure == 'first' else ''}p{self.percent:g}"

    def needed(self, count: int) -> int:
        """How many of `count` requests have to be within the limit."""
        return math.ceil(self.percent / 100 * count - 1e-9)

    def seconds(self, record: Record) -> float:
        """The measured seconds of a request of the task; infinite without a result."""
        at = record.end if self.measure == "latency" else record.first_event
        return at - record.scheduled if record.outcome == "completed" and at is not None else math.inf

    def meets(self, record: Record) -> bool:
        """Whether a request is within the limit; requests of other tasks always are."""
        return record.task != self.task or self.seconds(record) <= self.limit_s


@dataclass(frozen=True, kw_only=True, slots=True)
class Attained:
    """The result of an objective.

    Attributes:
        requests: number of counted requests of its task.
        good: number of those within the limit.
        measured_s: the percentile over all of them; None if it falls among those without a result.
    """

    objective: Objective
    requests: int
    good: int
    measured_s: float | None

    @property
    def met(self) -> bool:
        """False if there was no request."""
        return self.requests > 0 and self.good >= self.objective.needed(self.requests)

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.objective.name,
            **asdict(self.objective),
            "measured_s": self.measured_s,
            "requests": self.requests,
            "good": self.good,
            "attainment": self.good / self.requests if self.requests else None,
            "met": self.met,
        }


def parse_slo(text: str) -> tuple[Objective, ...]:
    """Parses objectives separated by commas; empty text gives none.

    Raises:
        ValueError: the text is malformed.
    """
    return tuple(_parse(term.strip()) for term in text.split(",")) if text.strip() else ()


def _parse(term: str) -> Objective:
    found = _TERM.fullmatch(term)
    if found is None:
        raise ValueError(
            f"{term!r} is not an objective; write TASK:pPERCENT=SECONDS as in vqa:p99=0.5 or vqa:first_p99=0.2"
        )
    task = next((task for task in TASKS if task == found["task"]), None)
    if task is None:
        raise ValueError(f"{found['task']!r} is not a task; use {' or '.join(TASKS)}")
    return Objective(
        task=task,
        percent=float(found["percent"]),
        limit_s=float(found["limit"]),
        measure="first" if found["first"] else "latency",
    )


def attained(objective: Objective, records: Sequence[Record]) -> Attained:
    """Evaluates an objective on a run's counted records."""
    seconds = sorted(objective.seconds(one) for one in records if one.counted and one.task == objective.task)
    measured = seconds[objective.needed(len(seconds)) - 1] if seconds else math.inf
    return Attained(
        objective=objective,
        requests=len(seconds),
        good=sum(one <= objective.limit_s for one in seconds),
        measured_s=None if measured == math.inf else measured,
    )


def is_good(record: Record, objectives: Sequence[Objective]) -> bool:
    """Whether a request completed within every objective of its task."""
    return record.outcome == "completed" and all(one.meets(record) for one in objectives)


class Allowance:
    """How many more requests may miss, in a run whose counts are known in advance: once it is used up, the verdict is
    certain.

    Args:
        counts: number of counted requests of each task that the run will send.
    """

    def __init__(self, objectives: Sequence[Objective], counts: Mapping[Task, int]) -> None:
        self._left = {one: counts.get(one.task, 0) - one.needed(counts.get(one.task, 0)) for one in objectives}

    def spent(self, record: Record) -> bool:
        """Counts a record; returns whether an objective can no longer be met."""
        if record.counted:
            for objective in self._left:
                self._left[objective] -= not objective.meets(record)
        return any(left < 0 for left in self._left.values())
