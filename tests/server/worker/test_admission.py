from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flashu_core import GenerateRequest, InvalidRequestError, Quote, Request, Task, UnderstandRequest
from server.errors import OverloadedError
from server.worker.admission import Admission, AdmissionCounts, QueueLimits, Ticket

PICTURE = np.zeros((2, 2, 3), np.uint8)


@dataclass
class Tariff:
    """A picture costs its points, one second each; a token of an answer a tenth of a second."""

    refused: str = "none"

    def quote(self, request: Request) -> Quote:
        if request.acceleration == self.refused:
            raise InvalidRequestError("there is no such policy", parameter="acceleration")
        if isinstance(request, GenerateRequest):
            return Quote(start=0.0, unit=1.0, units=request.num_inference_steps or 10, rows=request.num_images)
        return Quote(start=0.0, unit=0.1, units=request.max_new_tokens)


@dataclass
class World:
    """An admission and the time it believes in."""

    now: float = 0.0
    limits: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        limits = QueueLimits(
            **{"seconds": 60.0, "requests": 1000, "request_seconds": 1e9, "batch": 1, "rows": 1, **self.limits}
        )
        self.counts = AdmissionCounts()
        self.admission = Admission(Tariff(), limits, self.counts, clock=lambda: self.now)

    def picture(self, price: int = 10, priority: int = 0, images: int = 1) -> Ticket:
        return self.admission.admit(
            GenerateRequest(
                prompt="a", num_inference_steps=price, priority=priority, num_images=images, acceleration="exact"
            )
        )

    def question(self, price: int = 1, priority: int = 0) -> Ticket:
        request = UnderstandRequest(
            question="a", image=PICTURE, max_new_tokens=price * 10, priority=priority, acceleration="exact"
        )
        return self.admission.admit(request)

    def run(self, *tickets: Ticket, units: int = 1, pace: float = 1.0) -> None:
        """So many units that these requests share."""
        first = tickets[0]
        for _ in range(units):
            self.now += pace * first.quote.unit
            stage = "evaluate" if first.task == "generate" else "decode" if first.done else "prefill"
            self.admission.ran(stage, tickets)


def test_the_backlog_is_what_was_accepted_and_is_not_done() -> None:
    world = World()
    first, second, third = world.picture(10), world.picture(20), world.question(3)
    assert world.admission.backlog == 33.0
    world.run(first, units=5)
    assert world.admission.backlog == 28.0
    second.close(finished=False)
    assert world.admission.backlog == 8.0
    first.close(finished=True)
    third.close(finished=True)
    third.close(finished=True)
    assert (world.admission.backlog, world.admission.open) == (0.0, 0)


def test_a_wait_is_what_is_ahead() -> None:
    world = World(limits={"seconds": 1e6})
    assert world.admission.predicted_wait("generate") == 0.0
    world.picture(10)
    assert world.admission.predicted_wait("generate") == 10.0
    assert world.admission.predicted_wait("vqa") == 0.0
    world.question(2)
    # Pictures wait for all answers where those are soon done, answers for their share of both.
    assert world.admission.predicted_wait("generate") == 12.0
    assert world.admission.predicted_wait("vqa") == 2.0 / 0.8
    for _ in range(60):
        world.question(2)
    assert world.admission.predicted_wait("generate") == pytest.approx(10.0 / 0.2)


def test_pictures_wait_for_the_share_that_answers_leave_while_they_keep_arriving() -> None:
    world = World(limits={"seconds": 1e6})
    for _ in range(200):  # questions use four fifths of the time, and none of them waits
        requested = world.question(1)
        world.run(requested, units=10, pace=0.8)
        requested.close(finished=True)
        world.now += 0.2
    world.picture(10)
    assert world.admission.predicted_wait("generate") == pytest.approx(10.0 / 0.2, rel=0.1)
    world.now += 60.0  # there are none any more
    world.picture(10)
    assert world.admission.predicted_wait("generate") == pytest.approx(20.0, rel=0.1)


def test_a_wait_beyond_the_limit_is_refused_with_a_time_to_retry() -> None:
    world = World(limits={"seconds": 25})
    tickets = [world.picture(), world.picture(), world.picture()]
    with pytest.raises(OverloadedError, match="would wait 30 s; at most 25 s") as caught:
        world.picture()
    assert caught.value.retry_after == 5
    world.run(tickets[0], units=5)
    assert world.picture().quote.seconds == 10
    assert (world.counts.accepted["generate"], world.counts.refused["generate", "wait"]) == (4, 1)


def test_an_idle_server_takes_a_request_of_any_length_of_queue() -> None:
    assert World(limits={"seconds": 1}).picture(1000).left(1.0) == 1000.0


def test_the_price_of_one_request_is_limited() -> None:
    world = World(limits={"request_seconds": 50.0})
    world.picture(50).close(finished=False)
    with pytest.raises(
        InvalidRequestError, match="take 51 s by itself; at most 50 s may be: lower num_infer"
    ) as caught:
        world.picture(51)
    assert caught.value.parameter == "num_inference_steps"
    world.question(50).close(finished=False)
    with pytest.raises(InvalidRequestError, match="lower max_new_tokens") as caught:
        world.question(51)
    assert caught.value.parameter == "max_new_tokens"
    assert world.counts.refused == {("generate", "price"): 1, ("vqa", "price"): 1}


def test_an_answer_may_be_as_long_as_can_be_decoded_in_time() -> None:
    world = World(limits={"request_seconds": 50.0})

    def longest(tokens: int, seconds: float) -> int:
        return world.admission.longest_answer(
            UnderstandRequest(question="a", max_new_tokens=tokens, acceleration="exact"), seconds
        )

    assert longest(500, 100.0) == 500
    assert longest(501, 100.0) == 500  # by what one request may take
    assert longest(501, 20.0) == 200  # by its own time
    assert longest(128, 20.0) == 128
    assert longest(128, 0.01) == 1
    for tokens in range(1, 200):  # what it says is accepted, whatever numbers round to
        narrow = World(limits={"request_seconds": tokens * 0.1})
        request = UnderstandRequest(question="a", max_new_tokens=4096, acceleration="exact")
        fitting = narrow.admission.longest_answer(request, math.inf)
        assert fitting in (tokens - 1, tokens)
        narrow.admission.quote(UnderstandRequest(question="a", max_new_tokens=fitting, acceleration="exact"))
    assert world.counts.refused == {}


def test_a_giant_keeps_nobody_out_that_can_run_beside_it() -> None:
    world = World(limits={"seconds": 30.0, "rows": 16})
    giant = world.picture(1000, images=8)
    world.run(giant, units=3)
    assert world.admission.predicted_wait("generate") == pytest.approx(15.0)  # half of the time that may be waited
    small = [world.picture(2) for _ in range(3)]
    assert [ticket.predicted for ticket in small] == [16.0, 18.0, 20.0]  # its eight rows for each one of theirs
    with pytest.raises(OverloadedError):
        for _ in range(10):
            world.picture(2)
    # Two giants side by side would only both be late.
    for ticket in small:
        ticket.close(finished=False)
    with pytest.raises(OverloadedError, match=r"would wait 1... s"):
        world.picture(1000, images=8)


def test_answers_that_end_at_once_teach_neither_pace_nor_lengths_that_let_long_ones_in() -> None:
    """One who asks for 4,096 tokens, a hundred times, and takes two of them, changes neither what a second of work
    takes nor how many that really take them are let in."""
    world = World(limits={"seconds": 10.0, "rows": 16})

    def flood() -> list[Ticket]:
        taken = []
        for _ in range(200):
            try:
                taken.append(world.question(400))
            except OverloadedError:
                continue
        return taken

    before = flood()
    for ticket in before:
        ticket.close(finished=False)
    for _ in range(100):
        ticket = world.question(400)
        world.run(ticket, units=2)
        ticket.close(finished=True)
    longs = flood()
    assert len(longs) <= len(before) <= 2
    assert world.admission.predicted_wait("vqa") <= 10.0
    world.question(1)  # a short question comes to its turn beside them


def test_answers_that_may_be_long_leave_places_to_others() -> None:
    world = World(limits={"seconds": 1000.0, "rows": 4})
    for _ in range(100):  # one in eight of their tokens is all that they seem to take
        ticket = world.question(400)
        world.run(ticket, units=2)
        ticket.close(finished=True)
    for _ in range(3):
        world.question(400)
    with pytest.raises(OverloadedError, match="if all answers take their full length"):
        world.question(400)
    assert world.counts.refused == {("vqa", "length"): 1}
    world.question(1)


def test_an_answer_that_runs_on_counts_as_long() -> None:
    world = World(limits={"seconds": 1e6})
    for _ in range(200):
        ticket = world.question(8)
        world.run(ticket)
        ticket.close(finished=True)
    assert world.question(8).left(0.125) == pytest.approx(1.0)
    alone = World(limits={"seconds": 1e6})
    for _ in range(200):
        ticket = alone.question(8)
        alone.run(ticket)
        ticket.close(finished=True)
    running = alone.question(8)
    assert alone.admission.backlog == pytest.approx(1.0)
    alone.run(running, units=20)
    assert alone.admission.backlog == pytest.approx(2.0)  # as much again as it has taken
    alone.run(running, units=50)
    assert alone.admission.backlog == pytest.approx(1.0)  # up to its most


def test_pictures_that_queue_keep_no_answer_out() -> None:
    world = World(limits={"seconds": 60, "requests": 20})
    with pytest.raises(OverloadedError):
        for _ in range(100):
            world.picture()
    for _ in range(5):
        world.question()


def test_only_what_runs_first_is_ahead() -> None:
    world = World(limits={"seconds": 25})
    for _ in range(3):
        world.picture(10, priority=1)
    with pytest.raises(OverloadedError):
        world.picture(10, priority=1)
    assert world.picture(10, priority=0).priority == 0
    assert world.admission.predicted_wait("generate", 0) == 10.0
    assert world.admission.predicted_wait("generate", 1) == 40.0


def test_the_number_of_waiting_requests_is_limited() -> None:
    world = World(limits={"requests": 2})
    first, _ = world.picture(), world.picture()
    with pytest.raises(OverloadedError, match="2 requests are waiting") as caught:
        world.picture()
    assert caught.value.retry_after == math.ceil(20 / 3)
    world.now += 4.0
    first.begin()  # so it does not wait
    assert world.admission.waiting("generate") == 1
    world.picture()
    with pytest.raises(OverloadedError):
        world.picture()
    assert world.counts.refused["generate", "count"] == 2
    assert (world.counts.predicted["generate"], world.counts.observed["generate"]) == (0.0, 4.0)


def test_without_a_queue_one_request_runs() -> None:
    world = World(limits={"requests": 0})
    ticket = world.picture()
    with pytest.raises(OverloadedError):
        world.picture()
    ticket.close(finished=True)
    world.picture()


def test_what_has_no_price_is_not_taken() -> None:
    world = World()
    with pytest.raises(InvalidRequestError):
        world.admission.admit(GenerateRequest(prompt="a", acceleration="none"))
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
        ticket = world.picture(price) if task == "generate" else world.question(price)
        world.run(ticket, units=ticket.quote.units, pace=paces[task])
        spent[task] += price
        ticket.close(finished=True)
    for task in ("generate", "vqa"):
        if spent[task] > 100:
            world.now += 1000.0
            ticket = world.picture(100) if task == "generate" else world.question(100)
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
    world = World(limits={"seconds": limit * longest})
    free = 0.0  # when the machine has done all it took
    running: list[tuple[float, Ticket]] = []
    waits, idle = [], 0.0
    for price in prices * 10:
        world.now += pace * price / 2
        for ends, ticket in [one for one in running if one[0] <= world.now]:
            now = world.now
            world.now = max(ends - pace * ticket.quote.seconds, 0.0)
            world.run(ticket, units=ticket.quote.units, pace=pace)
            ticket.close(finished=True)
            world.now = now
            running.remove((ends, ticket))
        try:
            ticket = world.picture(price)
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
            st.sampled_from(["draw", "ask", "run", "finish", "fail"]),
            st.integers(0, 30),
            st.floats(0.0, 10.0, allow_subnormal=False),
        ),
        max_size=80,
    ),
    st.sampled_from([1, 4, 16]),
)
def test_whatever_happens_the_prediction_stays_one(steps: list[tuple[str, int, float]], rows: int) -> None:
    world = World(limits={"requests": 15, "rows": rows})
    tickets: list[Ticket] = []
    refused: list[int] = []
    for what, number, seconds in steps:
        world.now += seconds
        if what in ("draw", "ask"):
            try:
                tickets.append(
                    world.picture(number + 2, number % 3) if what == "draw" else world.question(number + 1, number % 3)
                )
            except OverloadedError as error:
                refused.append(error.retry_after)
        elif tickets:
            ticket = tickets[number % len(tickets)]
            if what == "run":
                world.run(ticket, pace=seconds)
            else:
                ticket.close(finished=what == "finish")
                tickets.remove(ticket)
        assert world.admission.open == len(tickets)
        assert 0.0 <= world.admission.backlog < math.inf
        for task in ("generate", "vqa"):
            waits = [world.admission.predicted_wait(task, priority) for priority in (0, 1, 2)]
            assert waits == sorted(waits)
            assert 0.0 <= waits[-1] < math.inf
            assert world.admission.waiting(task) <= 16
    assert all(1 <= seconds <= 600 for seconds in refused)
    for ticket in tickets:
        ticket.close(finished=True)
    assert (world.admission.open, world.admission.backlog) == (0, 0.0)
