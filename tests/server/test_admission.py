from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flashu_core import GenerateRequest, InvalidRequestError, Request, Task, UnderstandRequest
from server.admission import Admission, Ticket
from server.errors import OverloadedError

PICTURE = np.zeros((2, 2, 3), np.uint8)


@dataclass
class Tariff:
    """A picture costs its points, an answer a tenth of its tokens."""

    refused: str = "none"

    def price(self, request: Request) -> float:
        if request.policy == self.refused:
            raise InvalidRequestError("there is no such policy", parameter="acceleration")
        if isinstance(request, GenerateRequest):
            return float(request.points or 10)
        return request.max_new_tokens / 10


@dataclass
class World:
    """An admission and the time it believes in."""

    now: float = 0.0
    limits: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        limits = {"max_queue_seconds": 60.0, "max_queue": 1000, "answer_weight": 4.0, **self.limits}
        self.admission = Admission(Tariff(), clock=lambda: self.now, **limits)  # type: ignore[arg-type]

    def draw(self, price: int = 10, priority: int = 0) -> Ticket:
        return self.admission.admit(GenerateRequest(prompt="a", points=price, priority=priority))

    def ask(self, price: int = 1, priority: int = 0) -> Ticket:
        request = UnderstandRequest(question="a", image=PICTURE, max_new_tokens=price * 10, priority=priority)
        return self.admission.admit(request)


def test_the_backlog_is_what_was_accepted_and_is_not_done() -> None:
    world = World()
    first, second, third = world.draw(10), world.draw(20), world.ask(3)
    assert world.admission.backlog == 33.0
    first.progress(0.5)
    assert world.admission.backlog == 28.0
    first.progress(0.25)  # it never grows
    assert world.admission.backlog == 28.0
    second.close(finished=False)
    assert world.admission.backlog == 8.0
    first.close(finished=True)
    third.close(finished=True)
    third.close(finished=True)
    assert (world.admission.backlog, world.admission.open) == (0.0, 0)


def test_a_wait_is_what_is_ahead() -> None:
    world = World(limits={"max_queue_seconds": 1e6})
    assert world.admission.predicted_wait("generate") == 0.0
    world.draw(10)
    assert world.admission.predicted_wait("generate") == 10.0
    assert world.admission.predicted_wait("vqa") == 0.0
    world.ask(2)
    # Pictures wait for all answers where those are soon done, answers for their share of both.
    assert world.admission.predicted_wait("generate") == 12.0
    assert world.admission.predicted_wait("vqa") == 2.0 / 0.8
    for _ in range(60):
        world.ask(2)
    assert world.admission.predicted_wait("generate") == pytest.approx(10.0 / 0.2)


def test_a_wait_beyond_the_limit_is_refused_with_the_time_of_room() -> None:
    world = World(limits={"max_queue_seconds": 25})
    tickets = [world.draw(), world.draw(), world.draw()]
    with pytest.raises(OverloadedError, match="would wait 30 s; at most 25 s") as caught:
        world.draw()
    assert caught.value.retry_after == 5
    world.now = 5.0
    tickets[0].progress(0.5)
    assert world.draw().price == 10


def test_an_idle_server_takes_a_request_of_any_price() -> None:
    assert World(limits={"max_queue_seconds": 1}).draw(1000).left == 1000.0


def test_pictures_that_queue_keep_no_answer_out() -> None:
    world = World(limits={"max_queue_seconds": 60, "max_queue": 20})
    with pytest.raises(OverloadedError):
        for _ in range(100):
            world.draw()
    for _ in range(5):
        world.ask()


def test_only_what_runs_first_is_ahead() -> None:
    world = World(limits={"max_queue_seconds": 25})
    for _ in range(3):
        world.draw(10, priority=1)
    with pytest.raises(OverloadedError):
        world.draw(10, priority=1)
    assert world.draw(10, priority=0).priority == 0
    assert world.admission.predicted_wait("generate", 0) == 10.0
    assert world.admission.predicted_wait("generate", 1) == 40.0


def test_so_many_wait_at_most() -> None:
    world = World(limits={"max_queue": 2})
    first, _ = world.draw(), world.draw()
    with pytest.raises(OverloadedError, match="2 requests are waiting") as caught:
        world.draw()
    assert caught.value.retry_after == math.ceil(20 / 3)
    first.progress(0.0)  # it has started, so it does not wait
    assert world.admission.waiting("generate") == 1
    world.draw()
    with pytest.raises(OverloadedError):
        world.draw()


def test_without_a_queue_one_request_runs() -> None:
    world = World(limits={"max_queue": 0})
    ticket = world.draw()
    with pytest.raises(OverloadedError):
        world.draw()
    ticket.close(finished=True)
    world.draw()


def test_what_has_no_price_is_not_taken() -> None:
    world = World()
    with pytest.raises(InvalidRequestError):
        world.admission.admit(GenerateRequest(prompt="a", policy="none"))
    assert world.admission.open == 0


@settings(deadline=None)
@given(
    paces=st.fixed_dictionaries({"generate": st.floats(0.1, 5.0), "vqa": st.floats(0.1, 5.0)}),
    order=st.lists(st.tuples(st.sampled_from(["generate", "vqa"]), st.integers(2, 20)), min_size=30, max_size=60),
)
def test_predictions_follow_what_is_really_done(paces: dict[Task, float], order: list[tuple[Task, int]]) -> None:
    """A machine that works so many times slower, or faster, than it is priced; one request at a time, often idle."""
    world = World()
    spent = {"generate": 0.0, "vqa": 0.0}
    for task, price in order * 4:
        world.now += 1000.0  # nothing to do
        ticket = world.draw(price) if task == "generate" else world.ask(price)
        world.now += paces[task] * price
        spent[task] += price
        ticket.close(finished=True)
    for task in ("generate", "vqa"):
        if spent[task] > 100:
            ticket = world.draw(100) if task == "generate" else world.ask(100)
            assert world.admission.predicted_wait(task) == pytest.approx(100 * paces[task], rel=0.5)
            ticket.close(finished=False)


@settings(deadline=None)
@given(
    pace=st.floats(0.2, 3.0),
    prices=st.lists(st.integers(2, 30), min_size=20, max_size=40),
    limit=st.floats(1.5, 6.0),  # a queue of hardly one request cannot keep a machine busy
)
def test_under_overload_waits_stay_near_the_limit_and_the_machine_busy(
    pace: float, prices: list[int], limit: float
) -> None:
    """Requests come twice as fast as the machine works, first in, first out; what it takes waits about what is said."""
    longest = pace * max(prices)
    world = World(limits={"max_queue_seconds": limit * longest})
    free = 0.0  # when the machine has done all it took
    running: list[tuple[float, Ticket]] = []
    waits, idle = [], 0.0
    for price in prices * 10:
        world.now += pace * price / 2
        for ends, ticket in [one for one in running if one[0] <= world.now]:
            now, world.now = world.now, ends
            ticket.close(finished=True)
            world.now = now
            running.remove((ends, ticket))
        try:
            ticket = world.draw(price)
        except OverloadedError:
            continue
        waits.append(max(free - world.now, 0.0))
        idle += max(world.now - free, 0.0)
        free = max(free, world.now) + pace * price
        running.append((free, ticket))
    settled = waits[len(waits) // 2 :]
    assert max(settled) <= 1.6 * limit * longest + longest
    assert idle <= 0.1 * world.now + longest


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["draw", "ask", "progress", "finish", "fail"]),
            st.integers(0, 30),
            st.floats(0.0, 1.0, allow_subnormal=False),
            st.floats(0.0, 10.0, allow_subnormal=False),
        ),
        max_size=80,
    )
)
def test_whatever_happens_the_prediction_stays_one(steps: list[tuple[str, int, float, float]]) -> None:
    world = World(limits={"max_queue": 15})
    tickets: list[Ticket] = []
    refused: list[int] = []
    for what, number, share, seconds in steps:
        world.now += seconds
        if what in ("draw", "ask"):
            try:
                tickets.append(
                    world.draw(number + 2, number % 3) if what == "draw" else world.ask(number + 1, number % 3)
                )
            except OverloadedError as error:
                refused.append(error.retry_after)
        elif tickets:
            ticket = tickets[number % len(tickets)]
            if what == "progress":
                ticket.progress(share)
            else:
                ticket.close(finished=what == "finish")
                tickets.remove(ticket)
        assert world.admission.open == len(tickets)
        assert 0.0 <= world.admission.backlog < math.inf
        for task in ("generate", "vqa"):
            waits = [world.admission.predicted_wait(task, priority) for priority in (0, 1, 2)]
            assert waits == sorted(waits)
            assert waits[-1] <= world.admission.backlog + 1e-9
            assert world.admission.waiting(task) <= 16
    assert all(1 <= seconds <= 600 for seconds in refused)
    for ticket in tickets:
        ticket.close(finished=True)
    assert (world.admission.open, world.admission.backlog) == (0, 0.0)
