"""Admission by predicted cost: a request that would wait too long is rejected before it is queued, with the time to
come back. It knows prices, priorities, places in batches and each task's share of the time; it knows no queue, no
engine and no HTTP. Call it from one thread.

Two things are learnt, apart from each other. The *pace* of a task is real seconds for each priced second of work that
was really run, unit by unit: what a request did not run teaches nothing. The *length* of answers is a bounded estimate
(`Lengths`); an answer that runs past it counts as long from then on. Whatever is believed of lengths, a request is only
taken while it waits for at most `_WORST` times the limit if all answers take their full length.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, get_args

from flashu_core import GenerateRequest, InvalidRequestError, Quote, Request, Stage, Task, UnderstandRequest
from server.errors import OverloadedError
from server.worker.answer_lengths import Lengths
from server.worker.backlog import Part, seconds_ahead

_WORST = 1.5  # times the limit that a newcomer may have to wait if every answer takes its full length
_FILLING = 2.0  # times the limit that may be waited for as long as one batch has places: few at a time cost most
_LONG = 0.75  # of the places are taken at most by requests that may hold them for longer than anybody is to wait
_MEMORY_S = 60.0  # busy seconds after which what was observed of the pace counts for 1/e of what is new
_PRIOR_S = 5.0  # as so many seconds of work at the price counts the first guess: that prices are right
_PACES = (0.02, 50.0)  # a clock that jumps must not make work free, or refuse all
_RECENT_S = 5.0  # over which the share of the time is taken that each task runs
_LONGEST_RETRY_S = 600
_STARTING: frozenset[Stage] = frozenset({"prefix", "prefill"})
_STEPS: frozenset[Stage] = frozenset({"prefill", "decode", "evaluate"})  # a prefill draws the first token
TASKS: tuple[Task, ...] = ("generate", "vqa")
# Why a request is refused: its wait, its wait if answers take their full length, the number that waits, its own price.
Reason = Literal["wait", "length", "count", "price"]
REASONS: tuple[Reason, ...] = get_args(Reason)


class Prices(Protocol):
    """What tells what a request takes alone, as `flashu_core.UnitCosts` does."""

    def quote(self, request: Request) -> Quote: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class QueueLimits:
    """What may wait and run.

    Attributes:
        seconds: a request that would wait longer, as predicted, is refused.
        requests: of one task that may have been accepted and not started.
        request_seconds: that one request may take alone.
        batch: places of one batch, as `EngineConfig.max_batch`.
        rows: places of begun requests of one task, as `EngineConfig.running`.
        answer_weight: seconds that answers run for each second of pictures, as in `EngineConfig`.
    """

    seconds: float = 10.0
    requests: int = 256
    request_seconds: float = 300.0
    batch: int = 8
    rows: int = 16
    answer_weight: float = 4.0


@dataclass(slots=True, eq=False)
class AdmissionCounts:
    """Outcomes of requests, by task: for people, nothing is decided by them.

    Attributes:
        accepted: requests.
        refused: requests by task and reason, one of `REASONS`.
        predicted, observed: seconds until their first unit of those that have started, in all.
    """

    accepted: Counter[Task] = field(default_factory=Counter)
    refused: Counter[tuple[Task, Reason]] = field(default_factory=Counter)
    predicted: dict[Task, float] = field(default_factory=lambda: dict.fromkeys(TASKS, 0.0))
    observed: dict[Task, float] = field(default_factory=lambda: dict.fromkeys(TASKS, 0.0))


@dataclass(slots=True, eq=False)
class _Load:
    """One task: its open tickets, the pace of its work, and how much of the time it ran lately."""

    share: float  # of the time, while the other task has work too
    tickets: set[Ticket] = field(default_factory=set)
    real: float = _PRIOR_S
    priced: float = _PRIOR_S
    recent: float = 0.0  # seconds that it ran, those of long ago counting less
    recent_at: float = -math.inf

    @property
    def pace(self) -> float:
        """Real seconds for each priced one: below 1 where batches make work cheaper than priced."""
        return min(max(self.real / self.priced, _PACES[0]), _PACES[1])

    def learn(self, real: float, priced: float) -> None:
        """Work of that price took so long."""
        kept = math.exp(-real / _MEMORY_S)
        self.real = kept * self.real + real
        self.priced = kept * self.priced + priced

    def ran(self, now: float, seconds: float) -> None:
        self.recent = self.recent * math.exp((self.recent_at - now) / _RECENT_S) + seconds
        self.recent_at = now

    def occupancy(self, now: float) -> float:
        """The share of the time that it ran lately, 0 to 1."""
        return min(self.recent * math.exp((self.recent_at - now) / _RECENT_S) / _RECENT_S, 1.0)


class Ticket:
    """One accepted request's place in the prediction, from `Admission.admit` until it is closed.

    Attributes:
        quote: what it takes alone.
        predicted: seconds that it was predicted to wait.
        admitted: when.
        done: units that ran.
        started: whether its first unit has begun.
    """

    __slots__ = ("_admission", "admitted", "done", "known_long", "predicted", "priority", "quote", "started", "task")

    def __init__(self, admission: Admission, task: Task, quote: Quote, priority: int, now: float) -> None:
        self._admission = admission
        self.task: Task = task
        self.quote = quote
        self.priority = priority
        self.predicted = 0.0
        self.admitted = now
        self.done = 0
        self.started = False
        self.known_long = False

    def begin(self) -> None:
        """Its first unit is next."""
        self._admission.begin(self)

    def close(self, *, finished: bool) -> None:
        """The request ended: with a result, or it failed or was cancelled. Closing again does nothing."""
        self._admission.close(self, finished=finished)

    @property
    def ran(self) -> float:
        """Priced seconds that were run."""
        return self.quote.start + self.done * self.quote.unit if self.done else 0.0

    def left(self, share: float) -> float:
        """Priced seconds that are left, if it takes that share of its units; of a running one that has taken more
        already, as many units again."""
        quote = self.quote
        units = quote.units if share >= 1.0 else min(max(math.ceil(share * quote.units), 2 * self.done), quote.units)
        return (0.0 if self.done else quote.start) + (units - self.done) * quote.unit


class Admission:
    """Accepts or refuses, and keeps the predicted backlog.

    Args:
        costs: prices requests.
        counts: where outcomes of requests are counted.
        clock: monotonic seconds.
    """

    def __init__(
        self, costs: Prices, limits: QueueLimits, counts: AdmissionCounts | None = None, *, clock: Callable[[], float]
    ) -> None:
        self._costs = costs
        self._counts = counts or AdmissionCounts()
        self._limits = limits
        self._clock = clock
        answers = limits.answer_weight / (1.0 + limits.answer_weight)
        self._loads: Mapping[Task, _Load] = {"generate": _Load(1.0 - answers), "vqa": _Load(answers)}
        self._lengths = Lengths()
        self._since = clock()  # the last unit ended, or the machine began to have work
        self._waits: dict[tuple[Task, float], float] = {}  # predicted, and still true

    def quote(self, request: Request) -> Quote:
        """What a request takes alone.

        Raises:
            InvalidRequestError: it has no price (its policy is unknown, ...), or is more than one request may take.
        """
        quote = self._costs.quote(request)
        limit = self._limits.request_seconds
        if quote.seconds > limit:
            self._counts.refused[request.task, "price"] += 1
            what = "num_inference_steps or n" if isinstance(request, GenerateRequest) else "max_new_tokens"
            raise InvalidRequestError(
                f"the request would take {quote.seconds:.0f} s by itself; at most {limit:g} s may be: lower {what}",
                parameter="num_inference_steps" if isinstance(request, GenerateRequest) else "max_new_tokens",
            )
        return quote

    def longest_answer(self, request: UnderstandRequest, seconds: float) -> int:
        """Tokens of an answer, at most as many as it asks for, that take no more than `seconds` alone and no more than
        one request may take; at least 1, which may take longer. Raises `InvalidRequestError` as `quote`."""
        quote = self._costs.quote(request)
        seconds = min(seconds, self._limits.request_seconds)
        if quote.seconds <= seconds or not quote.unit:
            return quote.units
        fitting = math.floor((seconds - quote.start) / quote.unit)
        if quote.start + fitting * quote.unit > seconds:  # by a rounding
            fitting -= 1
        return max(fitting, 1)

    def admit(self, request: Request, quote: Quote | None = None) -> Ticket:
        """A ticket for a request that is queued now; close it whatever becomes of the request.

        Args:
            quote: what it takes alone, where the caller has that already.

        Raises:
            OverloadedError: the wait would be too long, or too many wait already; it has the time after which to retry.
            InvalidRequestError: as `quote`.
        """
        quote = self.quote(request) if quote is None else quote
        task, now = request.task, self._clock()
        self.check(task, request.priority)
        ticket = Ticket(self, task, quote, request.priority, now)
        load = self._loads[task]
        ahead = [other for other in load.tickets if other.priority <= request.priority]
        limit = self._limit(ahead, quote.rows)
        ticket.predicted = self._wait(task, self._parts(ahead, ticket), self._limits.seconds)
        if ticket.predicted > limit:
            raise self._too_long(task, "wait", ticket.predicted, limit)
        self._check_lengths(ticket, ahead)
        if not self.open:
            self._since = now
        load.tickets.add(ticket)
        self._counts.accepted[task] += 1
        self._waits.clear()
        return ticket

    def check(self, task: Task, priority: int) -> None:
        """Whether the cheapest of requests would be accepted now: it waits for what is open, whatever it costs itself.

        Raises:
            OverloadedError: as `admit`.
        """
        wait = self.predicted_wait(task, priority)
        if wait > self._limits.seconds:
            limit = self._limit([one for one in self._loads[task].tickets if one.priority <= priority], 1)
            if wait > limit:
                raise self._too_long(task, "wait", wait, limit)
        waiting = self.waiting(task)
        # Where nothing is open nobody waits for long, even where no queue is allowed.
        if waiting >= self._limits.requests and self._loads[task].tickets:
            self._counts.refused[task, "count"] += 1
            raise OverloadedError(
                f"{waiting} requests are waiting and no more may; retry later",
                retry_after=_whole(self.predicted_wait(task) / (waiting + 1)),
            )

    @property
    def open(self) -> int:
        """Requests accepted and not ended."""
        return sum(len(load.tickets) for load in self._loads.values())

    @property
    def backlog(self) -> float:
        """Predicted seconds until all that was accepted is done."""
        return sum(self._work(load.tickets) for load in self._loads.values())

    def waiting(self, task: Task) -> int:
        """Requests of a task that were accepted and have not started."""
        return sum(not ticket.started for ticket in self._loads[task].tickets)

    def predicted_wait(self, task: Task, priority: float = math.inf) -> float:
        """Seconds until a small request of that priority would come to its turn: what its own task has accepted of that
        priority or better is done, but for what may run beside it."""
        found = self._waits.get((task, priority))
        if found is None:
            ahead = [ticket for ticket in self._loads[task].tickets if ticket.priority <= priority]
            found = self._waits[task, priority] = self._wait(task, self._parts(ahead), self._limits.seconds)
        return found

    def begin(self, ticket: Ticket) -> None:
        """The first unit of a request is next."""
        if not ticket.started:
            ticket.started = True
            self._counts.predicted[ticket.task] += ticket.predicted
            self._counts.observed[ticket.task] += self._clock() - ticket.admitted
            self._waits.clear()

    def ran(self, stage: Stage, tickets: Iterable[Ticket | None]) -> None:
        """A unit ended that advanced these requests; None is one that has no ticket any more. All time since the unit
        before, or since there is work, counts as this one's."""
        now = self._clock()
        seconds, self._since = max(now - self._since, 0.0), now
        self._waits.clear()
        priced, known = 0.0, True
        load = self._loads["vqa" if stage in ("prefill", "decode") else "generate"]
        for ticket in tickets:
            if ticket is None or ticket not in load.tickets:
                known = False
                continue
            self.begin(ticket)
            if stage in _STARTING:
                priced += ticket.quote.start
            if stage in _STEPS and ticket.done < ticket.quote.units:
                ticket.done += 1
                priced += ticket.quote.unit
                self._note_length(ticket)
        load.ran(now, seconds)
        if known:
            load.learn(seconds, priced)

    def close(self, ticket: Ticket, *, finished: bool) -> None:
        """Forgets a ticket."""
        tickets = self._loads[ticket.task].tickets
        if ticket in tickets:
            tickets.discard(ticket)
            self._waits.clear()
            if finished and ticket.task == "vqa" and not ticket.known_long:
                self._lengths.saw(ticket.quote.units, ticket.done)

    def _note_length(self, ticket: Ticket) -> None:
        """An answer that runs past what was expected of it is known to be long before it ends."""
        if ticket.task == "vqa" and not ticket.known_long:
            units = ticket.quote.units
            if ticket.done > math.ceil(self._lengths.share(units) * units):
                ticket.known_long = True
                self._lengths.saw(units, units)

    def _limit(self, ahead: Iterable[Ticket], rows: int) -> float:
        """Seconds that a newcomer behind `ahead` may wait: more while all of them fit in one batch, for then it keeps
        nobody from starting, and makes the others' work cheaper."""
        together = rows + sum(ticket.quote.rows for ticket in ahead)
        return self._limits.seconds * (_FILLING if together <= self._limits.batch else 1.0)

    def _check_lengths(self, ticket: Ticket, ahead: Sequence[Ticket]) -> None:
        """Whether all come to their turn and end, if every answer takes its full length."""
        if not ahead:
            return
        task, limit = ticket.task, self._limits.seconds
        parts = self._parts(ahead, worst=True)
        wait = self._wait(task, parts, _WORST * limit)
        if wait > _WORST * limit:
            raise self._too_long(task, "length", wait, _WORST * limit)
        own = self._parts([ticket], worst=True)
        total = sum(part.left for part in parts + own)
        if total > self._limits.request_seconds:
            raise self._too_long(task, "length", total, self._limits.request_seconds)
        # The long ones run side by side, and short ones beside them only where they leave places.
        long = sum(part.share for part in parts + own if part.left >= part.share * limit)
        if long > _LONG and own[0].left >= own[0].share * limit:
            raise self._too_long(task, "length", max(wait, limit), limit)

    def _too_long(self, task: Task, reason: Reason, wait: float, limit: float) -> OverloadedError:
        self._counts.refused[task, reason] += 1
        words = "would wait" if reason == "wait" else "might wait, if all answers take their full length,"
        return OverloadedError(
            f"the request {words} {wait:.0f} s; at most {limit:g} s are allowed: retry later",
            retry_after=_whole(wait - limit),
        )

    def _wait(self, task: Task, ahead: Sequence[Part], limit: float) -> float:
        """Seconds until a newcomer behind `ahead` comes to its turn, beside the other task: the task gets its share of
        the time, or what the other leaves, where that is more."""
        if not ahead:
            return 0.0
        other: Task = "vqa" if task == "generate" else "generate"
        share = self._loads[task].share
        rest = max(1.0 - self._loads[other].occupancy(self._clock()), share)  # it may go on to arrive as it did lately
        others = self._work(self._loads[other].tickets)
        alone = max(limit * rest - others, limit * share)
        return min(seconds_ahead(ahead, limit * share) / share, (seconds_ahead(ahead, alone) + others) / rest)

    def _parts(self, ahead: Iterable[Ticket], own: Ticket | None = None, *, worst: bool = False) -> list[Part]:
        """What is ahead of `own`, or of a very small request.

        Args:
            worst: answers take their full length.
        """
        row = 0.0 if own is None else self._left(own, worst=worst) / own.quote.rows
        parts = []
        for ticket in ahead:
            share = min(ticket.quote.rows / self._limits.rows, 1.0)
            left = self._left(ticket, worst=worst)
            # Those who come later run beside the newcomer too: as much as those who run now have had before it came.
            left += (1.0 - share) * self._loads[ticket.task].pace * ticket.ran
            parts.append(Part(left=left, share=share, fair=row * ticket.quote.rows))
        return parts

    def _work(self, tickets: Iterable[Ticket]) -> float:
        return sum(self._left(ticket) for ticket in tickets)

    def _left(self, ticket: Ticket, *, worst: bool = False) -> float:
        """Real seconds that are left of a request."""
        share = 1.0 if worst or ticket.task == "generate" else self._lengths.share(ticket.quote.units)
        return self._loads[ticket.task].pace * ticket.left(share)


def _whole(seconds: float) -> int:
    return min(max(math.ceil(seconds), 1), _LONGEST_RETRY_S)
