"""Which requests advance next, and as which batch. Pure Python: it imports no torch and runs nothing.

Work advances in units: a prefix, one denoising step of a batch, one prefill, one decoded token of a batch, or the
decoding of latents. The scheduler chooses again at every unit boundary. Answers go first, so an answer waits for the
unit in progress and never for a whole picture; every second that answers run earns generation a share of it, so
pictures always advance. Deadlines and cancellation are the caller's: it passes active requests only."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from flashu_core.types import Stage, Task

_STARTING: frozenset[Stage] = frozenset({"prefix", "prefill"})
_BATCHED: frozenset[Stage] = frozenset({"evaluate", "decode"})
_SMOOTHING = 0.25  # of the newest unit in what a unit of its stage is expected to take


class Schedulable(Protocol):
    """A request as the scheduler sees it."""

    @property
    def request_id(self) -> str: ...
    @property
    def task(self) -> Task: ...
    @property
    def arrival(self) -> int:
        """Grows from request to request."""

    @property
    def priority(self) -> int:
        """Lower runs first."""

    @property
    def stage(self) -> Stage:
        """What it needs next."""

    @property
    def key(self) -> Hashable:
        """Requests of one stage may share a batch when their keys are equal."""

    @property
    def rows(self) -> int:
        """Of a batch, that it takes."""

    @property
    def nbytes(self) -> int:
        """Bytes that it holds from its first unit to its last; before that it holds next to nothing."""

    @property
    def started(self) -> bool:
        """Whether a unit of it has run."""


R = TypeVar("R", bound=Schedulable)


@dataclass(frozen=True, slots=True)
class Unit(Generic[R]):
    """One unit of work: a stage for a batch of requests."""

    task: Task
    stage: Stage
    requests: tuple[R, ...]

    @property
    def request_ids(self) -> tuple[str, ...]:
        return tuple(request.request_id for request in self.requests)

    @property
    def rows(self) -> int:
        """Pictures or answers that it advances."""
        return sum(request.rows for request in self.requests)


@dataclass(frozen=True, kw_only=True, slots=True)
class Bound:
    """What the started requests of one task hold together at most; one that is larger by itself still runs, alone.

    Attributes:
        rows: the sum of their rows.
        nbytes: the sum of their bytes.
    """

    rows: float = math.inf
    nbytes: float = math.inf


class Scheduler(Generic[R]):
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
        self._passed: dict[Task, dict[str, int]] = {"generate": {}, "vqa": {}}  # batches in a row without a request
        self._expected: dict[Stage, float] = {}  # seconds of a unit, smoothed

    def next_unit(self, requests: Iterable[R]) -> Unit[R] | None:
        """The next unit among the active requests, or None where there is none."""
        work: dict[Task, list[R]] = {"generate": [], "vqa": []}
        for request in requests:
            work[request.task].append(request)
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

    def ran(self, unit: Unit[R], seconds: float) -> None:
        """Records what the last chosen unit took; the tasks' shares are of these seconds."""
        expected = self._expected.get(unit.stage, seconds)
        self._expected[unit.stage] = expected + _SMOOTHING * (seconds - expected)
        if self._contended:
            self._due += -seconds if unit.task == "generate" else seconds / self.answer_weight
        elif unit.task == "generate":
            self._due = max(self._due - seconds, 0.0)

    def _remember(self, unit: Unit[R], requests: Iterable[R]) -> None:
        task = unit.task
        self._last = task
        if unit.stage in _STARTING:
            self._starts[task] += 1
            return
        self._starts[task] = 0
        passed, chosen = self._passed[task], frozenset(unit.request_ids)
        # A batch of one large request takes as long as several of single rows, and counts as so many.
        weight = max(request.rows for request in unit.requests)
        self._passed[task] = {
            request.request_id: passed.get(request.request_id, 0) + weight
            for request in requests
            if request.started and request.request_id not in chosen
        }

    def _is_due(self, unit: Unit[R]) -> bool:
        """Whether answers ran long enough to pay for this unit of pictures."""
        # With a clock that stands still, as in a test, everything is due at once; then the tasks alternate.
        return self._due >= self._expected.get(unit.stage, 0.0) and (self._due > 0.0 or self._last == "vqa")

    def _choose(self, task: Task, requests: Iterable[R]) -> Unit[R]:
        """The next unit of one task: a request that can start, so that it joins batches from then on, unless one of
        better priority is running; else a batch of started requests."""
        started: list[R] = []
        waiting: list[R] = []
        for request in requests:
            (started if request.started else waiting).append(request)
        newcomer = min(waiting, key=_rank, default=None)
        if not started:
            assert newcomer is not None
            return Unit(task, newcomer.stage, (newcomer,))
        best = min(request.priority for request in started)
        # Stages and keys follow from what ran last: read once for each request and choice.
        groups = {request.request_id: (request.stage, request.key) for request in started}
        first = self._first(task, [request for request in started if request.priority == best], started, groups)
        if newcomer is not None and self._may_start(newcomer, first, started):
            return Unit(task, newcomer.stage, (newcomer,))
        group = groups[first.request_id]
        mates = [request for request in started if groups[request.request_id] == group]
        return self._batch(first, mates)

    def _first(
        self, task: Task, candidates: Iterable[R], started: Iterable[R], groups: Mapping[str, tuple[Stage, Hashable]]
    ) -> R:
        """The leader of the next batch, among those of the best priority: a picture that only needs decoding, because
        it ends and frees its memory; else a request that was passed over too often; else one of the largest group that
        can share a batch, so that requests at different steps fall into step. A group of one counts as one row."""
        rows: Counter[tuple[Stage, Hashable]] = Counter()
        count: Counter[tuple[Stage, Hashable]] = Counter()
        for request in started:
            group = groups[request.request_id]
            rows[group] += request.rows
            count[group] += 1
        max_wait, passed = 2 * self.max_batch, self._passed[task]

        def order(request: R) -> tuple[bool, bool, int, int, int]:
            group = groups[request.request_id]
            stage, _ = group
            together = min(rows[group], self.max_batch) if count[group] > 1 else 1
            waited = passed.get(request.request_id, 0)
            overdue = waited >= max_wait
            turn = -waited if stage == "decode" else 0
            return (stage != "vae_decode", not overdue, 0 if overdue else -together, turn, request.arrival)

        return min(candidates, key=order)

    def _may_start(self, newcomer: R, first: R, started: Sequence[R]) -> bool:
        if newcomer.priority > first.priority or (newcomer.priority == first.priority and first.stage == "vae_decode"):
            return False
        if newcomer.priority == first.priority and self._starts[newcomer.task] >= self.max_batch:
            return False  # requests that end in their first unit would starve the others
        # No request overtakes a newcomer that does not fit, or a large one would starve.
        bound = self._bounds[newcomer.task]
        rows = newcomer.rows + sum(request.rows for request in started)
        return rows <= bound.rows and newcomer.nbytes + sum(request.nbytes for request in started) <= bound.nbytes

    def _batch(self, first: R, mates: Iterable[R]) -> Unit[R]:
        chosen, rows, stage = [first], first.rows, first.stage
        if stage in _BATCHED:
            passed = self._passed[first.task]

            def order(request: R) -> tuple[int, int, int]:
                # Answers take turns, because their length is unknown; pictures end in order of arrival.
                turn = -passed.get(request.request_id, 0) if stage == "decode" else 0
                return (request.priority, turn, request.arrival)

            for request in sorted(mates, key=order):
                if request is not first and rows + request.rows <= self.max_batch:
                    chosen.append(request)
                    rows += request.rows
        return Unit(first.task, stage, tuple(chosen))


def _rank(request: Schedulable) -> tuple[int, int]:
    """Order of service: priority, then arrival."""
    return (request.priority, request.arrival)
