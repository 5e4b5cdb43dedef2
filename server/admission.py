"""Admission by predicted cost: a request that would wait too long is refused before it is queued, and told when to come
back. It knows prices, priorities and each task's share of the time, and corrects itself by what is really done in a
second; it knows no queue, no engine and no HTTP. Whoever owns it calls it from one thread.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from flashu_core import GenerateRequest, Request, Task
from server.errors import OverloadedError

_MEMORY_S = 60.0  # busy seconds after which what was observed counts for 1/e of what is new
_PRIOR_S = 5.0  # as so many seconds of work at the price counts the first guess: that prices are right
_LEAST_S = 0.25  # what is done is compared with the time in pieces of so long at least
_LONGEST_RETRY_S = 600


class Prices(Protocol):
    """What tells the seconds that a request takes alone, as `flashu_core.UnitCosts` does."""

    def price(self, request: Request) -> float: ...


@dataclass(slots=True, eq=False)
class _Load:
    """One task's open tickets, and how its priced seconds compare to real ones."""

    share: float  # of the time, while the other task has work too
    tickets: set[Ticket] = field(default_factory=set)
    real: float = _PRIOR_S
    priced: float = _PRIOR_S
    done: float = 0.0  # priced seconds done and not yet compared with the time

    @property
    def pace(self) -> float:
        """Real seconds for each priced one: below 1 where batches or short answers make work cheaper than priced."""
        return self.real / self.priced

    def ahead(self, priority: float) -> float:
        """Real seconds of the work that runs before a new request of that priority."""
        return self.pace * sum(ticket.left for ticket in self.tickets if ticket.priority <= priority)


class Ticket:
    """One accepted request's place in the prediction, from `Admission.admit` until it is closed.

    Attributes:
        price: seconds that it takes alone.
        left: how many of them are still to do.
        started: whether any progress was told.
    """

    __slots__ = ("_admission", "left", "price", "priority", "started", "task")

    def __init__(self, admission: Admission, task: Task, price: float, priority: int) -> None:
        self._admission = admission
        self.task: Task = task
        self.price = price
        self.priority = priority
        self.left = price
        self.started = False

    def progress(self, done: float) -> None:
        """That share of the request, 0 to 1, is done; with 0 it has only started."""
        self.started = True
        self._admission.observe(self, self.price * (1.0 - min(max(done, 0.0), 1.0)))

    def close(self, *, finished: bool) -> None:
        """The request ended: finished, so all of it was done; or it failed or was cancelled, and what was left never
        will be. Closing again does nothing."""
        self._admission.close(self, finished=finished)


class Admission:
    """Accepts or refuses, and keeps the predicted backlog.

    Args:
        costs: prices requests.
        max_queue_seconds: a request that would wait longer is refused.
        max_queue: requests of one task that may have been accepted and not started.
        answer_weight: seconds that answers run for each second of pictures, as in `EngineConfig`.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        costs: Prices,
        *,
        max_queue_seconds: float,
        max_queue: int,
        clock: Callable[[], float],
        answer_weight: float = 4.0,
    ) -> None:
        self._costs = costs
        self._max_queue_seconds = max_queue_seconds
        self._max_queue = max_queue
        self._clock = clock
        answers = answer_weight / (1.0 + answer_weight)
        self._loads: Mapping[Task, _Load] = {"generate": _Load(1.0 - answers), "vqa": _Load(answers)}
        self._since = clock()  # the time from here on is not compared with what was done
        self._busy = 0.0  # nor are these busy seconds before it

    def admit(self, request: Request) -> Ticket:
        """A ticket for a request that is queued now; close it whatever becomes of the request.

        Raises:
            OverloadedError: the wait would be too long, or too many wait already; it says when there will be room.
            InvalidRequestError: nobody can price it.
        """
        price = self._costs.price(request)
        task: Task = "generate" if isinstance(request, GenerateRequest) else "vqa"
        self.check(task, request.priority)
        self._compare()
        ticket = Ticket(self, task, price, request.priority)
        self._loads[task].tickets.add(ticket)
        return ticket

    def check(self, task: Task, priority: int) -> None:
        """Whether a request would be accepted now: it waits for what is open, whatever it costs itself.

        Raises:
            OverloadedError: as `admit`.
        """
        wait = self.predicted_wait(task, priority)
        if wait > self._max_queue_seconds:
            raise OverloadedError(
                f"the request would wait {wait:.0f} s; at most {self._max_queue_seconds:g} s are allowed: retry later",
                retry_after=_whole(wait - self._max_queue_seconds),
            )
        waiting = self.waiting(task)
        # Where nothing is open nobody waits for long, even where no queue is allowed.
        if self._loads[task].tickets and waiting >= self._max_queue:
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
        return sum(load.ahead(math.inf) for load in self._loads.values())

    def waiting(self, task: Task) -> int:
        """Requests of a task that were accepted and have not started."""
        return sum(not ticket.started for ticket in self._loads[task].tickets)

    def predicted_wait(self, task: Task, priority: float = math.inf) -> float:
        """Seconds until what its own task has accepted of that priority, or better, is done.

        While both tasks have work each gets its share of the time, and all of it once the other's is done.
        """
        own, other = self._loads[task], self._loads["vqa" if task == "generate" else "generate"]
        ahead = own.ahead(priority)
        return min(ahead / own.share, ahead + other.ahead(math.inf))

    def observe(self, ticket: Ticket, left: float) -> None:
        """Of a ticket so many priced seconds are left; there are never more than before."""
        load = self._loads[ticket.task]
        if ticket in load.tickets and left < ticket.left:
            load.done += ticket.left - left
            ticket.left = left
            self._compare()

    def close(self, ticket: Ticket, *, finished: bool) -> None:
        """Forgets a ticket."""
        if finished:
            self.observe(ticket, 0.0)
        self._compare()
        self._loads[ticket.task].tickets.discard(ticket)

    def _compare(self) -> None:
        """Compares what was done with the busy seconds since the last comparison.

        Both tasks share a machine, so each answers for its predicted share of the seconds.
        """
        now = self._clock()
        if self.open:
            self._busy += now - self._since
        self._since = now
        expected = {task: load.pace * load.done for task, load in self._loads.items()}
        total = sum(expected.values())
        if self._busy < _LEAST_S or total <= 0.0:
            return
        kept = math.exp(-self._busy / _MEMORY_S)
        for task, load in self._loads.items():
            if load.done > 0.0:
                load.real = kept * load.real + self._busy * expected[task] / total
                load.priced = kept * load.priced + load.done
                load.done = 0.0
        self._busy = 0.0


def _whole(seconds: float) -> int:
    return min(max(math.ceil(seconds), 1), _LONGEST_RETRY_S)
