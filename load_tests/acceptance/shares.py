"""What each task gets of an overloaded server: its share of the time, and the wait of its accepted requests. The share
is weighted max-min fair: a task that demands less than its weight gets all it demands, and the rest goes to the
others."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from flashu_core.types import Task
from load_tests.acceptance.phases import Capacity, Found
from load_tests.acceptance.plan import TASKS
from load_tests.acceptance.target import Target
from load_tests.bench.arrivals import Window
from load_tests.bench.record import Record
from load_tests.bench.statistics import by_chance, quantile

NAMES: Mapping[Task, str] = {"generate": "pictures", "vqa": "answers"}
_GOODPUT = 0.8  # of the share, less what chance explains
_MAX_BY_CHANCE = 0.1
_WAITS = 1.25  # times the limit: predictions have errors
_WAITS_AT = 0.95


def fair_shares(demand: Mapping[Task, float], weights: Mapping[Task, float], capacity: float) -> dict[Task, float]:
    """Divides a capacity among tasks.

    Args:
        demand: of each task, in the unit of the capacity.
        weights: relative shares of tasks whose demand exceeds theirs.
    """
    left, open_tasks, found = capacity, set(demand), dict.fromkeys(demand, 0.0)
    while open_tasks:
        total = sum(weights[task] for task in open_tasks)
        sated = {task for task in open_tasks if demand[task] <= left * weights[task] / total}
        if not sated:
            return found | {task: left * weights[task] / total for task in open_tasks}
        found |= {task: demand[task] for task in sated}
        left -= sum(demand[task] for task in sated)
        open_tasks -= sated
    return found


def share_targets(
    found: Found, left: Mapping[str, float], *, answer_weight: float, max_queue_s: float | None
) -> list[Target]:
    """The promises about each task in each overload phase.

    Args:
        left: by phase the share of the server's cores that is left for work, which the tasks divide.
        answer_weight: seconds of answers per second of generation while both wait; the server's setting.
        max_queue_s: seconds that an accepted request may wait, as predicted by the server; None if unknown.
    """
    weights: Mapping[Task, float] = {"generate": 1.0, "vqa": answer_weight}
    targets = []
    for phase, share in left.items():
        window, capacity = found.windows[phase], found.capacity
        demand: Mapping[Task, float] = {
            task: len(found.of(phase, task)) / window.seconds / capacity.alone[task] for task in TASKS
        }
        fair = fair_shares(demand, weights, share * capacity.work)
        for task in TASKS:
            done = _rate(capacity, [one for one in found.records if one.task == task])
            offered = fair[task] > 0
            chance = by_chance(done, window) / fair[task] if offered else 0.0
            targets.append(
                Target(
                    name=f"goodput of {NAMES[task]}, {phase}, of their share",
                    unit="",
                    limit=_GOODPUT - min(chance, _MAX_BY_CHANCE),
                    at_least=True,
                    measured=done(window) / fair[task] if offered else None,
                    vacuous=not offered,
                    note=f"{done(window) / capacity.work:.2f} C done; {demand[task] / capacity.work:.2f} C offered; "
                    f"their share {fair[task] / capacity.work:.2f} C",
                )
            )
        targets += [_waits(found, phase, task, max_queue_s) for task in TASKS]
    return targets


def _rate(capacity: Capacity, records: Sequence[Record]) -> Callable[[Window], float]:
    """Seconds of work done per second of a window."""
    return lambda window: capacity.share(records, window) * capacity.work


def _waits(found: Found, phase: str, task: Task, max_queue_s: float | None) -> Target:
    """The wait of accepted requests: all time but the engine's."""
    waits = [max(one.worked[0] - one.sent, 0.0) for one in found.of(phase, task) if one.outcome == "completed"]
    measured = quantile(waits, _WAITS_AT)
    return Target(
        name=f"wait of accepted {NAMES[task]}, {phase}, p{100 * _WAITS_AT:g}",
        unit="s",
        limit=None if max_queue_s is None else _WAITS * max_queue_s,
        measured=measured,
        vacuous=max_queue_s is None,
        note=f"median {quantile(waits, 0.5):.2f} s; {len(waits)} accepted" if waits else "none was accepted",
    )
