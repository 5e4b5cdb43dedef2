"""What is wanted of latencies, as `vqa:p99=0.5,generate:p95=3`, and whether records meet it. It knows records only,
and counts what was refused, failed or broke off as missed."""

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
    """So many percent of a task's requests are done within so many seconds.

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
            raise ValueError(f"p{self.percent:g} is no percentile; it must be above 0 and at most 100")
        if not 0.0 < self.limit_s < math.inf:
            raise ValueError(f"the limit of {self.name} is {self.limit_s:g} s; it must be above 0")

    @property
    def name(self) -> str:
        return f"{self.task}:{'first_' if self.measure == 'first' else ''}p{self.percent:g}"

    def needed(self, count: int) -> int:
        """How many of so many requests have to be in time."""
        return math.ceil(self.percent / 100 * count - 1e-9)

    def seconds(self, record: Record) -> float:
        """What is judged of a request of the task; infinite where there was no result."""
        at = record.end if self.measure == "latency" else record.first_event
        return at - record.scheduled if record.outcome == "completed" and at is not None else math.inf

    def meets(self, record: Record) -> bool:
        """Whether a request is in time; one of another task always is."""
        return record.task != self.task or self.seconds(record) <= self.limit_s


@dataclass(frozen=True, kw_only=True, slots=True)
class Attained:
    """How an objective came out.

    Attributes:
        requests: of its task, counted ones.
        good: of those, in time.
        measured_s: the percentile over all of them; None where it falls among those without a result.
    """

    objective: Objective
    requests: int
    good: int
    measured_s: float | None

    @property
    def met(self) -> bool:
        """False as well where there was no request to judge by."""
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
    """Objectives separated by commas; none of an empty text.

    Raises:
        ValueError: the text is none.
    """
    return tuple(_parse(term.strip()) for term in text.split(",")) if text.strip() else ()


def _parse(term: str) -> Objective:
    found = _TERM.fullmatch(term)
    if found is None:
        raise ValueError(
            f"{term!r} is no objective; write TASK:pPERCENT=SECONDS as in vqa:p99=0.5 or vqa:first_p99=0.2"
        )
    task = next((task for task in TASKS if task == found["task"]), None)
    if task is None:
        raise ValueError(f"{found['task']!r} is no task; there are {' and '.join(TASKS)}")
    return Objective(
        task=task,
        percent=float(found["percent"]),
        limit_s=float(found["limit"]),
        measure="first" if found["first"] else "latency",
    )


def attained(objective: Objective, records: Sequence[Record]) -> Attained:
    """Of the counted records of a run."""
    seconds = sorted(objective.seconds(one) for one in records if one.counted and one.task == objective.task)
    measured = seconds[objective.needed(len(seconds)) - 1] if seconds else math.inf
    return Attained(
        objective=objective,
        requests=len(seconds),
        good=sum(one <= objective.limit_s for one in seconds),
        measured_s=None if measured == math.inf else measured,
    )


def is_good(record: Record, objectives: Sequence[Objective]) -> bool:
    """Whether it was completed and is in time by every objective of its task."""
    return record.outcome == "completed" and all(one.meets(record) for one in objectives)


class Allowance:
    """How many requests may still miss, of a run whose counts are known before: when it is used up, the verdict is
    certain, whatever else comes.

    Args:
        counts: of each task, the counted requests that the run will send.
    """

    def __init__(self, objectives: Sequence[Objective], counts: Mapping[Task, int]) -> None:
        self._left = {one: counts.get(one.task, 0) - one.needed(counts.get(one.task, 0)) for one in objectives}

    def spent(self, record: Record) -> bool:
        """Takes a record into account; whether an objective can no longer be met."""
        if record.counted:
            for objective in self._left:
                self._left[objective] -= not objective.meets(record)
        return any(left < 0 for left in self._left.values())
