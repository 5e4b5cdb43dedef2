from __future__ import annotations

import random
import subprocess
import sys
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from flashu_core.engine.scheduler import Bound, Scheduler, Unit
from flashu_core.types import Stage, Task


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A request as it is at one choice."""

    arrival: int
    task: Task
    stage: Stage
    key: Hashable = None
    rows: int = 1
    nbytes: int = 0
    priority: int = 0

    @property
    def request_id(self) -> str:
        return str(self.arrival)

    @property
    def started(self) -> bool:
        return self.stage not in ("prefix", "prefill")

    @property
    def rank(self) -> tuple[int, int]:
        return (self.priority, self.arrival)


def entry(
    arrival: int, stage: Stage, *, key: object = None, rows: int = 1, nbytes: int = 0, priority: int = 0
) -> Entry:
    task: Task = "vqa" if stage in ("prefill", "decode") else "generate"
    return Entry(arrival=arrival, task=task, stage=stage, key=str(key), rows=rows, nbytes=nbytes, priority=priority)


def chosen(scheduler: Scheduler[Entry], *entries: Entry) -> Unit[Entry]:
    unit = scheduler.next_unit(entries)
    assert unit is not None
    return unit


def arrivals(unit: Unit[Entry]) -> tuple[int, ...]:
    return tuple(request.arrival for request in unit.requests)


def test_nothing_to_do() -> None:
    assert Scheduler(4).next_unit([]) is None


def test_requests_at_different_steps_share_a_batch() -> None:
    unit = chosen(
        Scheduler(4), entry(1, "evaluate", key="a"), entry(2, "evaluate", key="b"), entry(3, "evaluate", key="a")
    )
    assert (unit.task, unit.stage, arrivals(unit)) == ("generate", "evaluate", (1, 3))


def test_sizes_do_not_mix_and_rows_are_bounded() -> None:
    entries = [
        entry(1, "evaluate", key="64", rows=2),
        entry(2, "evaluate", key="96"),
        entry(3, "evaluate", key="64", rows=3),
        entry(4, "evaluate", key="64", rows=2),
    ]
    assert arrivals(chosen(Scheduler(4), *entries)) == (1, 4)


def test_the_largest_batch_goes_first_but_nothing_starves() -> None:
    """Others keep joining the larger batch; the one that fits nobody still gets a batch in every five."""
    scheduler = Scheduler(2)
    units = [
        chosen(
            scheduler,
            entry(1, "evaluate", key="alone"),
            entry(2 + index, "evaluate", key="a"),
            entry(3 + index, "evaluate", key="a"),
        )
        for index in range(10)
    ]
    assert [arrivals(unit) == (1,) for unit in units] == ([False] * 4 + [True]) * 2
    assert {len(unit.requests) for unit in units} == {1, 2}


def test_one_large_request_runs_alone() -> None:
    assert arrivals(chosen(Scheduler(4), entry(1, "evaluate", rows=8), entry(2, "evaluate"))) == (1,)


def test_newcomers_start_before_others_go_on() -> None:
    unit = chosen(Scheduler(4), entry(1, "evaluate"), entry(2, "prefix"))
    assert (unit.stage, arrivals(unit)) == ("prefix", (2,))


def test_a_picture_that_only_needs_its_pixels_ends_first() -> None:
    scheduler = Scheduler(4)
    unit = chosen(scheduler, entry(1, "evaluate"), entry(2, "vae_decode"), entry(3, "prefix"))
    assert (unit.task, unit.stage, arrivals(unit)) == ("generate", "vae_decode", (2,))
    assert arrivals(chosen(scheduler, entry(1, "evaluate", priority=-1), entry(2, "vae_decode"))) == (1,)


def test_requests_that_end_as_they_start_do_not_keep_the_others_back() -> None:
    """Answers of one token, one after the other: after as many as make a batch somebody goes on."""
    scheduler = Scheduler(3)
    units = [chosen(scheduler, entry(1, "decode"), entry(2 + index, "prefill")) for index in range(8)]
    assert [unit.stage for unit in units] == (["prefill"] * 3 + ["decode"]) * 2


def test_lower_priority_numbers_run_first() -> None:
    entries = [entry(1, "prefill", priority=5), entry(2, "prefill", priority=-1), entry(3, "prefill")]
    assert arrivals(chosen(Scheduler(4), *entries)) == (2,)


def test_a_newcomer_of_better_priority_goes_first_and_one_of_worse_waits() -> None:
    scheduler = Scheduler(1)
    assert arrivals(chosen(scheduler, entry(1, "evaluate"), entry(2, "prefix", priority=-1))) == (2,)
    assert arrivals(chosen(scheduler, entry(1, "evaluate"), entry(2, "evaluate", priority=-1))) == (2,)
    assert arrivals(chosen(scheduler, entry(1, "evaluate"), entry(3, "prefix", priority=1))) == (1,)


def test_better_priority_leads_the_batch_that_others_join() -> None:
    entries = [entry(1, "evaluate", key="a"), entry(2, "evaluate", key="b", priority=-1), entry(3, "evaluate", key="b")]
    assert arrivals(chosen(Scheduler(4), *entries)) == (2, 3)


def test_an_answer_waits_for_the_unit_in_progress_only() -> None:
    scheduler = Scheduler(4)
    for _ in range(5):
        scheduler.ran(chosen(scheduler, entry(1, "evaluate")), 10.0)
    assert chosen(scheduler, entry(1, "evaluate"), entry(2, "prefill")).stage == "prefill"


def test_pictures_earn_a_share_of_what_answers_run() -> None:
    scheduler = Scheduler(4, answer_weight=4.0)
    scheduler.ran(chosen(scheduler, entry(1, "evaluate")), 1.0)
    order = []
    for _ in range(10):
        unit = chosen(scheduler, entry(1, "evaluate"), entry(2, "decode"))
        scheduler.ran(unit, 1.0)
        order.append(unit.stage)
    assert order == (["decode"] * 4 + ["evaluate"]) * 2


def test_who_was_idle_has_saved_nothing_up() -> None:
    scheduler = Scheduler(4, answer_weight=4.0)
    scheduler.ran(chosen(scheduler, entry(1, "evaluate")), 1.0)
    for _ in range(100):  # answers alone
        scheduler.ran(chosen(scheduler, entry(2, "decode")), 1.0)
    order = []
    for _ in range(5):
        unit = chosen(scheduler, entry(1, "evaluate"), entry(2, "decode"))
        scheduler.ran(unit, 1.0)
        order.append(unit.stage)
    assert order.count("evaluate") == 1
    for _ in range(100):  # pictures alone
        scheduler.ran(chosen(scheduler, entry(1, "evaluate")), 1.0)
    again = [chosen(scheduler, entry(1, "evaluate"), entry(2, "decode")).stage]
    while len(again) < 10:
        task: Task = "vqa" if again[-1] == "decode" else "generate"
        scheduler.ran(Unit(task, again[-1], (entry(1 if task == "generate" else 2, again[-1]),)), 1.0)
        again.append(chosen(scheduler, entry(1, "evaluate"), entry(2, "decode")).stage)
    assert again == (["decode"] * 4 + ["evaluate"]) * 2


def test_tasks_take_turns_where_time_stands_still() -> None:
    scheduler = Scheduler(4)
    order = []
    for _ in range(6):
        unit = chosen(scheduler, entry(1, "evaluate"), entry(2, "decode"))
        scheduler.ran(unit, 0.0)
        order.append(unit.task)
    assert order == ["vqa", "generate"] * 3


def test_nobody_starts_beyond_the_bounds_nor_overtakes_who_does_not_fit() -> None:
    scheduler = Scheduler(8, bounds={"generate": Bound(rows=3, nbytes=100)})
    running = entry(1, "evaluate", rows=2, nbytes=60)
    assert chosen(scheduler, running, entry(2, "prefix", rows=2)).stage == "evaluate"
    assert chosen(scheduler, running, entry(2, "prefix", nbytes=41), entry(3, "prefix")).stage == "evaluate"
    assert arrivals(chosen(scheduler, running, entry(2, "prefix", nbytes=40))) == (2,)
    assert arrivals(chosen(scheduler, entry(2, "prefix", rows=9, nbytes=1000))) == (2,)
    assert arrivals(chosen(scheduler, entry(2, "evaluate", rows=9, nbytes=1000), entry(3, "prefix"))) == (2,)


def test_bounds_are_each_task_s_own() -> None:
    scheduler = Scheduler(8, bounds={"generate": Bound(rows=1), "vqa": Bound(rows=1)})
    full = [entry(1, "evaluate"), entry(2, "prefix")]
    assert arrivals(chosen(scheduler, *full, entry(3, "prefill"))) == (3,)


# A whole machine: requests arrive, run and end.

SECONDS = {"prefix": 0.3, "evaluate": 1.0, "vae_decode": 0.7, "prefill": 0.9, "decode": 0.2}


@dataclass
class Job:
    """A request of so many units, each with a key of its own; `arrives` is in units that ran before."""

    task: Task
    keys: Sequence[int]
    rows: int
    size: int
    priority: int
    arrives: int
    done: int = 0
    started: bool = False

    def entry(self, arrival: int) -> Entry:
        stage: Stage
        key = None
        if not self.started:
            stage = "prefix" if self.task == "generate" else "prefill"
        elif self.done == len(self.keys):
            stage = "vae_decode"
        else:
            stage, key = ("evaluate" if self.task == "generate" else "decode"), self.keys[self.done]
        return Entry(
            arrival=arrival,
            task=self.task,
            stage=stage,
            key=key,
            rows=self.rows,
            nbytes=self.size,
            priority=self.priority,
        )

    def advance(self) -> bool:
        """Whether that was its last unit."""
        ended = self.started and self.done == len(self.keys)
        if self.started:
            self.done += 1
        self.started = True
        return ended or (self.task == "vqa" and self.done == len(self.keys))


JOBS = st.lists(
    st.builds(
        Job,
        task=st.sampled_from(["generate", "vqa"]),
        keys=st.lists(st.integers(0, 2), max_size=6),
        rows=st.integers(1, 5),
        size=st.integers(0, 50),
        priority=st.integers(-2, 2),
        arrives=st.integers(0, 30),
    ),
    min_size=1,
    max_size=14,
)


@dataclass
class Machine:
    """Runs jobs to the end under a scheduler and keeps what happened."""

    scheduler: Scheduler[Entry]
    jobs: Sequence[Job]
    spread: random.Random = field(default_factory=lambda: random.Random(0))
    units: list[tuple[Unit[Entry], dict[int, Entry]]] = field(default_factory=list)
    seconds: Counter[Task] = field(default_factory=Counter)

    def run(self, maximum: int) -> None:
        waiting = dict(enumerate(sorted(self.jobs, key=lambda job: job.arrives), start=1))
        for time in range(maximum):
            entries = {request: job.entry(request) for request, job in waiting.items() if job.arrives <= time}
            unit = self.scheduler.next_unit(entries.values())
            assert (unit is None) == (not entries)
            if unit is None:
                if not waiting:
                    return
                continue
            self.units.append((unit, entries))
            seconds = SECONDS[unit.stage] * self.spread.uniform(0.5, 1.5)
            self.seconds[unit.task] += seconds
            self.scheduler.ran(unit, seconds)
            for arrival in arrivals(unit):
                if waiting[arrival].advance():
                    del waiting[arrival]
        assert not waiting, "somebody starved"


def units_of(jobs: Sequence[Job]) -> int:
    return sum(len(job.keys) + 2 for job in jobs) + max(job.arrives for job in jobs) + 1


@settings(deadline=None)
@given(JOBS, st.integers(1, 6), st.floats(0.1, 10.0), st.integers(1, 8), st.integers(1, 80))
def test_all_requests_end_and_every_unit_is_lawful(
    jobs: list[Job], max_batch: int, weight: float, rows: int, size: int
) -> None:
    bounds: dict[Task, Bound] = {"generate": Bound(rows=rows, nbytes=size), "vqa": Bound(rows=rows, nbytes=size / 2)}
    machine = Machine(Scheduler(max_batch, answer_weight=weight, bounds=bounds), jobs)
    machine.run(units_of(jobs))
    for unit, entries in machine.units:
        mates = unit.requests
        assert len(set(arrivals(unit))) == len(mates)
        assert {(mate.task, mate.stage) for mate in mates} == {(unit.task, unit.stage)}
        assert len({mate.key for mate in mates}) == 1
        assert len(mates) == 1 or sum(mate.rows for mate in mates) <= max_batch
        assert len(mates) == 1 or unit.stage in ("evaluate", "decode")
        own = [one for one in entries.values() if one.task == unit.task]
        if unit.stage in ("prefix", "prefill"):
            (newcomer,) = mates
            held = [one for one in own if one.started]
            bound = bounds[unit.task]
            assert not held or (
                sum(one.rows for one in held) + newcomer.rows <= bound.rows
                and sum(one.nbytes for one in held) + newcomer.nbytes <= bound.nbytes
            )
            assert newcomer.rank == min(one.rank for one in own if not one.started)
        else:
            # The first of a batch is as good as anybody who has started.
            assert mates[0].priority == min(one.priority for one in own if one.started)


@settings(deadline=None)
@given(JOBS, st.integers(1, 6))
def test_same_requests_same_choices(jobs: list[Job], max_batch: int) -> None:
    copies = [Job(job.task, job.keys, job.rows, job.size, job.priority, job.arrives) for job in jobs]
    first, second = Machine(Scheduler(max_batch), jobs), Machine(Scheduler(max_batch), copies)
    first.run(units_of(jobs))
    second.run(units_of(jobs))
    assert [unit for unit, _ in first.units] == [unit for unit, _ in second.units]


@settings(deadline=None)
@given(
    weight=st.floats(0.2, 20.0),
    costs=st.tuples(st.floats(0.05, 5.0), st.floats(0.05, 5.0)),
    spread=st.floats(1.0, 3.0),
    seed=st.integers(0, 2**16),
)
def test_seconds_are_shared_by_weight_while_both_tasks_have_work(
    weight: float, costs: tuple[float, float], spread: float, seed: int
) -> None:
    scheduler = Scheduler(4, answer_weight=weight)
    source = random.Random(seed)
    seconds: Counter[Task] = Counter()
    longest = max(costs) * spread
    # Long enough for both to have run many times.
    total = 60 * longest * max(weight, 1 / weight)
    assume(total / min(costs) < 50_000)
    while sum(seconds.values()) < total:
        unit = chosen(scheduler, entry(1, "evaluate"), entry(2, "decode"))
        took = costs[unit.task == "vqa"] * source.uniform(1.0, spread)
        seconds[unit.task] += took
        scheduler.ran(unit, took)
    # Neither is ever further ahead than two of its longest units.
    assert abs(seconds["vqa"] / weight - seconds["generate"]) <= 2 * longest * max(1.0, 1 / weight)


@settings(deadline=None)
@given(JOBS, st.sampled_from(["generate", "vqa"]))
def test_a_stream_of_newcomers_starves_nobody(jobs: list[Job], task: Task) -> None:
    """Requests of one task that end in one unit arrive before every choice; the others still end."""
    scheduler = Scheduler(2, bounds={"generate": Bound(rows=8, nbytes=100), "vqa": Bound(rows=8, nbytes=100)})
    waiting = dict(enumerate(jobs, start=1))
    for job in waiting.values():
        job.priority = 0
    stage: Stage = "prefix" if task == "generate" else "prefill"
    for step in range(200 * units_of(jobs)):
        entries = [job.entry(request) for request, job in waiting.items()]
        unit = chosen(scheduler, *entries, entry(1000 + step, stage))
        scheduler.ran(unit, SECONDS[unit.stage])
        for arrival in arrivals(unit):
            if arrival < 1000 and waiting[arrival].advance():
                del waiting[arrival]
        if not waiting:
            return
    pytest.fail(f"{len(waiting)} requests starved")


def test_it_needs_no_torch() -> None:
    # The package's own __init__ loads the engine, so the modules are loaded by themselves.
    program = (
        "import sys, types; package = types.ModuleType('flashu_core'); package.__path__ = ['flashu_core'];"
        "sys.modules['flashu_core'] = package; sys.modules['torch'] = None; "
        "import flashu_core.engine.scheduler, flashu_core.engine.latency_model"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
