"""Turns among owners, and who may keep all workers."""

from __future__ import annotations

import pytest

from server.images.fair_queue import FairQueue


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def queue(workers: int = 1) -> tuple[FairQueue[str], Clock]:
    clock = Clock()
    return FairQueue(workers, clock=clock), clock


def taken(waiting: FairQueue[str]) -> list[str]:
    """All that is taken where one worker is soon done each time."""
    found = []
    while (item := waiting.take()) is not None:
        found.append(item)
        waiting.done(item)
    return found


def test_one_owners_items_are_in_order() -> None:
    waiting, _ = queue()
    for item in ("1", "2", "3"):
        waiting.put(item, "a")
    assert (len(waiting), list(waiting), len(waiting.of("a")), len(waiting.of("b"))) == (3, ["1", "2", "3"], 3, 0)
    assert taken(waiting) == ["1", "2", "3"]
    assert (len(waiting), waiting.take()) == (0, None)


def test_owners_take_turns() -> None:
    waiting, _ = queue()
    for item in ("a1", "a2", "a3", "a4", "b1", "b2", "c1"):
        waiting.put(item, item[0])
    assert taken(waiting) == ["a1", "b1", "c1", "a2", "b2", "a3", "a4"]


def test_whoever_comes_again_is_behind_those_who_wait() -> None:
    waiting, _ = queue()
    waiting.put("a1", "a")
    waiting.put("b1", "b")
    assert waiting.take() == "a1"
    waiting.put("a2", "a")
    waiting.put("b2", "b")
    assert taken(waiting) == ["b1", "a2", "b2"]


def test_what_is_put_back_is_next() -> None:
    waiting, _ = queue()
    for item in ("a1", "a2", "b1"):
        waiting.put(item, item[0])
    first = waiting.take()
    assert first == "a1"
    waiting.put_back(first)
    assert len(waiting) == 3
    assert taken(waiting) == ["a1", "b1", "a2"]
    waiting.put("a3", "a")
    (only,) = waiting
    assert waiting.take() == only
    waiting.put_back(only)  # where nothing of its owner waits
    assert taken(waiting) == ["a3"]


def test_what_is_removed_has_no_turn() -> None:
    waiting, _ = queue()
    for item in ("a1", "a2", "b1"):
        waiting.put(item, item[0])
    for item in ("a1", "b1", "b1"):
        waiting.remove(item)
    assert taken(waiting) == ["a2"]
    waiting.put("a3", "a")
    waiting.clear()
    assert taken(waiting) == []


def test_who_is_quick_keeps_all_workers() -> None:
    waiting, clock = queue(workers=2)
    for number in range(20):
        waiting.put(f"a{number}", "a")
    for _ in range(10):
        first, second = waiting.take(), waiting.take()
        assert first is not None and second is not None
        clock.now += 1.0
        waiting.done(first)
        waiting.done(second)


@pytest.mark.parametrize("workers", [2, 3])
def test_who_is_slow_leaves_one_worker_to_the_others(workers: int) -> None:
    waiting, clock = queue(workers)
    waiting.put("b0", "b")
    assert taken(waiting) == ["b0"]  # there are others
    for number in range(10):
        waiting.put(f"a{number}", "a")
    slow = [waiting.take() for _ in range(workers - 1)]
    assert None not in slow
    clock.now += 1.5  # it is slow while it still runs
    assert waiting.take() is None
    waiting.put("b1", "b")
    assert waiting.take() == "b1"
    waiting.done("b1")
    for item in slow:
        assert item is not None
        waiting.done(item)
    clock.now += 50.0  # and for some time after that
    assert [waiting.take() is None for _ in range(workers)] == [False] * (workers - 1) + [True]
    clock.now += 0.5
    waiting.put("b2", "b")
    assert waiting.take() == "b2"


def test_slowness_is_forgotten() -> None:
    waiting, clock = queue(workers=2)
    for number in range(3):
        waiting.put(f"a{number}", "a")
    assert waiting.take() == "a0"
    clock.now += 5.0
    waiting.done("a0")
    clock.now += 61.0
    waiting.put("b0", "b")
    assert (waiting.take(), waiting.take()) == ("a1", "b0")
    waiting.done("b0")
    assert waiting.take() == "a2"


def test_who_is_alone_keeps_all_workers_however_slow() -> None:
    waiting, clock = queue(workers=2)
    assert waiting.is_alone("a")
    waiting.put("b0", "b")
    assert taken(waiting) == ["b0"]
    assert (waiting.is_alone("a"), waiting.is_alone("b")) == (False, True)
    for number in range(4):
        waiting.put(f"a{number}", "a")
    assert (waiting.is_alone("a"), waiting.is_alone("b")) == (False, False)
    assert waiting.take() == "a0"
    clock.now += 5.0
    assert waiting.take() is None
    clock.now += 61.0
    assert waiting.is_alone("a")
    assert waiting.take() == "a1"


def test_a_single_worker_is_everybodys() -> None:
    waiting, clock = queue(workers=1)
    for item in ("a1", "a2"):
        waiting.put(item, "a")
        assert waiting.take() == item
        clock.now += 5.0
        waiting.done(item)
