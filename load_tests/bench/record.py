"""One request's record, and the file of all records: compressed JSON lines."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from flashu_core.types import Task
from load_tests.bench.answer import failure_of, read_answer
from load_tests.bench.client import BrokenBy, Reply

Outcome = Literal["completed", "refused", "failed", "broken"]
_REFUSALS = frozenset({429, 503})
_STEP = ("features", "backbone", "head", "guidance")


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """One request; times are seconds since the run began.

    Attributes:
        counted: False in warm-ups and lead-ins.
        scheduled: when it should have been sent; latency counts from here.
        sent, first_byte, end: when the connection was opened, and when the reply began and was complete.
        retry_after: seconds, if the reply has that header.
        error: what broke the exchange.
        timings_ms: the server's timings of a completed request.
        steps: denoising steps of a generation request.
        key: the sender's own name of the request.
        first_event: when a stream sent the first event of its result: text, or a finished denoising step.
        failure: the server's error code, or `no_result` for a 200 without a result.
    """

    phase: str
    task: Task
    counted: bool
    scheduled: float
    sent: float
    first_byte: float | None
    end: float
    status: int | None
    received: int
    retry_after: float | None = None
    error: BrokenBy | None = None
    timings_ms: Mapping[str, float] = field(default_factory=dict)
    steps: int = 0
    key: str = ""
    first_event: float | None = None
    failure: str | None = None

    @property
    def latency(self) -> float:
        """Seconds from the scheduled time to the end."""
        return self.end - self.scheduled

    @property
    def worked(self) -> tuple[float, float]:
        """Start of a completed request's work, from the engine's total, and end of the reply."""
        return max(self.end - self.timings_ms.get("total", 0.0) / 1000, self.sent), self.end

    @property
    def late(self) -> float:
        """Seconds between the scheduled time and sending."""
        return self.sent - self.scheduled

    @property
    def outcome(self) -> Outcome:
        """Completed (200 with a result), refused (429 or 503), failed (other responses), or broken (no complete
        reply)."""
        if self.error is not None or self.status is None:
            return "broken"
        if self.status == 200:
            return "completed" if self.failure is None else "failed"
        return "refused" if self.status in _REFUSALS else "failed"

    @property
    def step_s(self) -> float | None:
        """Mean seconds of the request's denoising steps; None if it has none."""
        if self.steps == 0:
            return None
        return sum(self.timings_ms.get(name, 0.0) for name in _STEP) / 1000 / self.steps


def record(
    reply: Reply, *, phase: str, task: Task, counted: bool, scheduled: float, began: float, key: str = ""
) -> Record:
    """Makes a record of a reply; its times, `scheduled` and `began` are on the event loop's clock."""
    answer = read_answer(reply) if reply.status == 200 and reply.error is None else None
    return Record(
        phase=phase,
        task=task,
        counted=counted,
        scheduled=scheduled - began,
        sent=reply.sent - began,
        first_byte=None if reply.first_byte is None else reply.first_byte - began,
        end=reply.end - began,
        status=reply.status,
        received=reply.received,
        retry_after=_seconds(reply.headers.get("retry-after")),
        error=reply.error,
        timings_ms={} if answer is None else answer.timings_ms,
        steps=0 if answer is None else answer.steps,
        key=key,
        first_event=None if answer is None or answer.first_event is None else answer.first_event - began,
        failure=failure_of(reply) if answer is None else answer.failure,
    )


def write(records: Iterable[Record], path: Path) -> None:
    """Writes one line per record."""
    with gzip.open(path, "wt") as file:
        for one in records:
            file.write(json.dumps({**asdict(one), "outcome": one.outcome}) + "\n")


def read(path: Path) -> list[Record]:
    """Reads what `write` wrote."""
    with gzip.open(path, "rt") as file:
        lines = [json.loads(line) for line in file]
    return [Record(**{name: value for name, value in line.items() if name != "outcome"}) for line in lines]


def _seconds(text: str | None) -> float | None:
    try:
        return None if text is None else float(text)
    except ValueError:  # HTTP allows a date, which this client does not use
        return None
