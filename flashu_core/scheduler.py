"""Which requests advance next, and as which batch. Pure Python: it imports no torch and runs nothing.

Work advances in units: a prefix, one evaluation of a batch, one prefill, one decoded token of a batch, one decoding of
pictures. At every unit boundary the scheduler chooses again, so an answer waits for one evaluation at most, never for
a picture; and units of the two tasks take turns, so pictures always move.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass

from flashu_core.types import Stage, Task

_BATCHED: frozenset[Stage] = frozenset({"evaluate", "decode"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """A request as the scheduler sees it.

    Attributes:
        request: its id; ids grow with arrival.
        stage: what it needs next.
        key: requests of one stage may share a batch when their keys are equal.
        rows: places it takes in a batch.
        priority: lower runs first.
    """

    request: int
    task: Task
    stage: Stage
    key: Hashable = None
    rows: int = 1
    priority: int = 0

    @property
    def rank(self) -> tuple[int, int]:
        """Earlier runs first: by priority, then by arrival."""
        return (self.priority, self.request)


@dataclass(frozen=True, slots=True)
class Unit:
    """One unit of work: a stage for a batch of requests."""

    task: Task
    stage: Stage
    requests: tuple[int, ...]


class Scheduler:
    """Chooses the next unit. Its only memory is which task ran last.

    Args:
        max_batch: rows of a batch at most; a single request that has more still runs, alone.
    """

    def __init__(self, max_batch: int) -> None:
        self.max_batch = max_batch
        self._last: Task = "generate"

    def next_unit(self, entries: Iterable[Entry]) -> Unit | None:
        """The next unit among the active requests, or None where there is none."""
        waiting = sorted(entries, key=lambda entry: entry.rank)
        tasks = {entry.task for entry in waiting}
        if not tasks:
            return None
        if len(tasks) == 1:
            (task,) = tasks
        else:
            task = "vqa" if self._last == "generate" else "generate"
        self._last = task
        return self._batch([entry for entry in waiting if entry.task == task])

    def _batch(self, waiting: list[Entry]) -> Unit:
        # Whoever has started nothing yet goes first, so that it can join the others' batches from then on.
        starting = [entry for entry in waiting if entry.stage in ("prefix", "prefill")]
        first = (starting or waiting)[0]
        chosen, rows = [first.request], first.rows
        if first.stage in _BATCHED:
            for entry in waiting:
                joins = entry.stage == first.stage and entry.key == first.key and entry.request != first.request
                if joins and rows + entry.rows <= self.max_batch:
                    chosen.append(entry.request)
                    rows += entry.rows
        return Unit(first.task, first.stage, tuple(chosen))
