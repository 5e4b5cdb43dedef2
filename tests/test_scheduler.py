from __future__ import annotations

import subprocess
import sys

from hypothesis import given, settings
from hypothesis import strategies as st

from flashu_core.scheduler import Entry, Scheduler, Stage, Unit


def entry(request: int, stage: Stage, *, key: object = None, rows: int = 1, priority: int = 0) -> Entry:
    task = "vqa" if stage in ("prefill", "decode") else "generate"
    return Entry(request=request, task=task, stage=stage, key=str(key), rows=rows, priority=priority)


def test_nothing_to_do() -> None:
    assert Scheduler(4).next_unit([]) is None


def test_requests_at_different_evaluations_share_a_batch() -> None:
    unit = Scheduler(4).next_unit([entry(1, "evaluate"), entry(2, "evaluate"), entry(3, "vae_decode")])
    assert unit == Unit("generate", "evaluate", (1, 2))


def test_sizes_do_not_mix_and_rows_are_bounded() -> None:
    entries = [
        entry(1, "evaluate", key="64", rows=2),
        entry(2, "evaluate", key="96"),
        entry(3, "evaluate", key="64", rows=3),
        entry(4, "evaluate", key="64", rows=2),
    ]
    unit = Scheduler(4).next_unit(entries)
    assert unit is not None
    assert unit.requests == (1, 4)


def test_one_large_request_runs_alone() -> None:
    unit = Scheduler(4).next_unit([entry(1, "evaluate", rows=8), entry(2, "evaluate")])
    assert unit is not None
    assert unit.requests == (1,)


def test_newcomers_start_before_others_go_on() -> None:
    unit = Scheduler(4).next_unit([entry(1, "evaluate"), entry(2, "prefix")])
    assert unit == Unit("generate", "prefix", (2,))


def test_lower_priority_numbers_run_first() -> None:
    entries = [entry(1, "prefill", priority=5), entry(2, "prefill", priority=-1), entry(3, "prefill")]
    unit = Scheduler(4).next_unit(entries)
    assert unit is not None
    assert unit.requests == (2,)


def test_tasks_take_turns() -> None:
    scheduler = Scheduler(4)
    entries = [entry(1, "evaluate"), entry(2, "decode")]
    chosen = [unit.task for unit in (scheduler.next_unit(entries) for _ in range(6)) if unit is not None]
    assert chosen == ["vqa", "generate"] * 3


STAGES: st.SearchStrategy[Stage] = st.sampled_from(["prefix", "evaluate", "vae_decode", "prefill", "decode"])


@settings(deadline=None)
@given(st.lists(st.tuples(STAGES, st.integers(1, 8), st.integers(-2, 2)), min_size=1, max_size=12), st.integers(1, 8))
def test_every_unit_is_lawful(drawn: list[tuple[Stage, int, int]], max_batch: int) -> None:
    entries = {
        index: entry(index, stage, rows=rows, priority=priority)
        for index, (stage, rows, priority) in enumerate(drawn, start=1)
    }
    unit = Scheduler(max_batch).next_unit(entries.values())
    assert unit is not None
    chosen = [entries[request] for request in unit.requests]
    assert len(set(unit.requests)) == len(unit.requests)
    assert {one.stage for one in chosen} == {unit.stage}
    assert len({one.key for one in chosen}) == 1
    assert len(chosen) == 1 or sum(one.rows for one in chosen) <= max_batch


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["generate", "vqa"]), st.integers(1, 6)), min_size=1, max_size=8))
def test_all_work_ends(drawn: list[tuple[str, int]]) -> None:
    """Each request needs so many units; nobody starves, and no two units of a task are far apart."""
    left = {index: units for index, (_, units) in enumerate(drawn, start=1)}
    stages: dict[int, Stage] = {
        index: "evaluate" if task == "generate" else "decode" for index, (task, _) in enumerate(drawn, start=1)
    }
    scheduler = Scheduler(2)
    for _ in range(sum(left.values())):
        unit = scheduler.next_unit([entry(index, stages[index]) for index in left])
        if unit is None:
            break
        for request in unit.requests:
            left[request] -= 1
            if not left[request]:
                del left[request]
    assert not left


def test_it_needs_no_torch() -> None:
    # The package's own __init__ loads the engine, so the module is loaded by itself.
    program = (
        "import sys, types; package = types.ModuleType('flashu_core'); package.__path__ = ['flashu_core'];"
        "sys.modules['flashu_core'] = package; sys.modules['torch'] = None; import flashu_core.scheduler"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
