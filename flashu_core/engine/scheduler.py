"""Which requests advance next, and as which batch. Pure Python: it imports no torch and runs nothing.

Work advances in units: a prefix, one denoising step of a batch, one prefill, one decoded token of a batch, or the
decoding of latents. The scheduler chooses again at every unit boundary. Answers go first, so an answer waits for the
unit in progress and never for a whole picture; every second that answers run earns generation a share of it, so
pictures always advance. Deadlines and cancellation are the caller's: it passes active requests only."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass

from flashu_core.types import Stage, Task

_STARTING: frozenset[Stage] = frozenset({"prefix", "prefill"})
_BATCHED: frozenset[Stage] = frozenset({"evaluate", "decode"})
_SMOOTHING = 0.25  # of the newest unit in what a unit of its stage is expected to take


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """A request as the scheduler sees it.

    Attributes:
        request: its id; ids grow with arrival.
        stage: what it needs next.
        key: requests of one stage may share a batch when their keys are equal.
        rows: of a batch that it takes.
        size: bytes it holds from its first unit to its last; before that it holds next to nothing.
        priority: lower runs first.
    """

    request: int
    task: Task
    stage: Stage
    key: Hashable = None
    rows: int = 1
    size: int = 0
    priority: int = 0

    @property
    def started(self) -> bool:
        """Whether a unit of it has run."""
        return self.stage not in _STARTING

    @property
    def rank(self) -> tuple[int, int]:
        """Order of service: priority, then arrival."""
        return (self.priority, self.request)


@dataclass(frozen=True, slots=True)
class Unit:
    """One unit of work: a stage for a batch of requests."""

    task: Task
    stage: Stage
    requests: tuple[int, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Bound:
    """What the started requests of one task hold together at most; one that is larger by itself still runs, alone.

    Attributes:
        rows: the sum of their rows.
        size: the sum of their bytes.
    """

    rows: float = math.inf
    size: float = math.inf


class Scheduler:
    """Chooses the next unit.

    Args:
        max_batch: rows of a batch at most; a single request that has more still runs, alone.
        answer_weight: seconds that answers run for each second of pictures while both have work.
        bounds: what each task's started requests may hold; no bound for a task that is not named.
    """

    def __init__(
        self, max_batch: int, *, answer_weight: float = 4.0, bounds: Mapping[Task, Bound] | None = None
    ) -> None:
        self.max_batch = max_batch
        self.answer_weight = answer_weight
        self._bounds: Mapping[Task, Bound] = {"generate": Bound(), "vqa": Bound(), **(bounds or {})}
        self._due = 0.0  # seconds due to generation; negative after it ran ahead of its share
        self._contended = False  # whether both tasks had work at the last choice
        self._last: Task = "generate"
        self._starts: dict[Task, int] = {"generate": 0, "vqa": 0}  # units in a row that started a request
        self._passed: dict[Task, dict[int, int]] = {"generate": {}, "vqa": {}}  # batches in a row without a request
        self._expected: dict[Stage, float] = {}  # seconds of a unit, smoothed

    def next_unit(self, entries: Iterable[Entry]) -> Unit | None:
        """The next unit among the active requests, or None where there is none."""
        work: dict[Task, list[Entry]] = {"generate": [], "vqa": []}
        for entry in entries:
            work[entry.task].append(entry)
        units = {task: self._choose(task, own) for task, own in work.items() if own}
        self._contended = len(units) > 1
        if not units:
            return None
        if self._contended:
            unit = units["generate" if self._is_due(units["generate"]) else "vqa"]
        else:
            (unit,) = units.values()
            # An idle task saves nothing up, neither generation's due seconds nor the seconds it ran ahead.
            self._due = max(self._due, 0.0) if unit.task == "generate" else 0.0
        self._remember(unit, work[unit.task])
        return unit

    def ran(self, unit: Unit, seconds: float) -> None:
        """Records what the last chosen unit took; the tasks' shares are of these seconds."""
        expected = self._expected.get(unit.stage, seconds)
        self._expected[unit.stage] = expected + _SMOOTHING * (seconds - expected)
        if self._contended:
            self._due += -seconds if unit.task == "generate" else seconds / self.answer_weight
        elif unit.task == "generate":
            self._due = max(self._due - seconds, 0.0)

    def _remember(self, unit: Unit, entries: list[Entry]) -> None:
        task = unit.task
        self._last = task
        if unit.stage in _STARTING:
            self._starts[task] += 1
            return
        self._starts[task] = 0
        passed = self._passed[task]
        passed_over = [one.request for one in entries if one.started and one.request not in unit.requests]
        # A batch of one large request takes as long as several of single rows, and counts as so many.
        weight = max(one.rows for one in entries if one.request in unit.requests)
        self._passed[task] = {request: passed.get(request, 0) + weight for request in passed_over}

    def _is_due(self, unit: Unit) -> bool:
        """Whether answers ran long enough to pay for this unit of pictures."""
        # With a clock that stands still, as in a test, everything is due at once; then the tasks alternate.
        return self._due >= self._expected.get(unit.stage, 0.0) and (self._due > 0.0 or self._last == "vqa")

    def _choose(self, task: Task, entries: list[Entry]) -> Unit:
        """The next unit of one task: a request that can start, so that it joins batches from then on, unless one of
        better priority is running; else a batch of started requests."""
        started = [entry for entry in entries if entry.started]
        newcomer = min((entry for entry in entries if not entry.started), key=lambda entry: entry.rank, default=None)
        if not started:
            assert newcomer is not None
            return Unit(task, newcomer.stage, (newcomer.request,))
        first = self._first(task, started)
        if newcomer is not None and self._may_start(newcomer, first, started):
            return Unit(task, newcomer.stage, (newcomer.request,))
        return self._batch(first, started)

    def _first(self, task: Task, started: list[Entry]) -> Entry:
        """The leader of the next batch, among the best priority: a picture that only needs decoding, because it ends
        and frees its memory; else a request that was passed over too often; else one of the largest group that can
        share a batch, so that requests at different steps fall into step. A group of one counts as one row."""
        best = min(entry.priority for entry in started)
        rows: Counter[tuple[Stage, Hashable]] = Counter()
        count: Counter[tuple[Stage, Hashable]] = Counter()
        for entry in started:
            rows[entry.stage, entry.key] += entry.rows
            count[entry.stage, entry.key] += 1
        max_wait, passed = 2 * self.max_batch, self._passed[task]

        def order(entry: Entry) -> tuple[bool, bool, int, int, int]:
            group = entry.stage, entry.key
            together = min(rows[group], self.max_batch) if count[group] > 1 else 1
            waited = passed.get(entry.request, 0)
            overdue = waited >= max_wait
            turn = -waited if entry.stage == "decode" else 0
            return (entry.stage != "vae_decode", not overdue, 0 if overdue else -together, turn, entry.request)

        return min((entry for entry in started if entry.priority == best), key=order)

    def _may_start(self, newcomer: Entry, first: Entry, started: list[Entry]) -> bool:
        if newcomer.priority > first.priority or (newcomer.priority == first.priority and first.stage == "vae_decode"):
            return False
        if newcomer.priority == first.priority and self._starts[newcomer.task] >= self.max_batch:
            return False  # requests that end in their first unit would starve the others
        # No request overtakes a newcomer that does not fit, or a large one would starve.
        bound = self._bounds[newcomer.task]
        rows = newcomer.rows + sum(entry.rows for entry in started)
        return rows <= bound.rows and newcomer.size + sum(entry.size for entry in started) <= bound.size

    def _batch(self, first: Entry, started: list[Entry]) -> Unit:
        chosen, rows = [first.request], first.rows
        if first.stage in _BATCHED:
            mates = [entry for entry in started if entry.stage == first.stage and entry.key == first.key]
            passed = self._passed[first.task]

            def order(entry: Entry) -> tuple[int, int, int]:
                # Answers take turns, because their length is unknown; pictures end in order of arrival.
                return (entry.priority, -passed.get(entry.request, 0) if entry.stage == "decode" else 0, entry.request)

            for entry in sorted(mates, key=order):
                if entry.request != first.request and rows + entry.rows <= self.max_batch:
                    chosen.append(entry.request)
                    rows += entry.rows
        return Unit(first.task, first.stage, tuple(chosen))
