"""What each task gets of a server that has more to do than it can: its share of the time, and how long those waited
that were accepted. The share is weighted max-min fair, as schedulers divide links and processors: a task that wants
less than its weight says gets all it wants, and what it leaves goes to the others."""

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
_WAITS = 1.25  # times the limit: a prediction errs
_WAITS_AT = 0.95


def fair_shares(demand: Mapping[Task, float], weights: Mapping[Task, float], capacity: float) -> dict[Task, float]:
    """Divides a capacity.

    Args:
        demand: what each task could use, in the unit of the capacity.
        weights: each task's part, where all want more than theirs.
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
    """What is promised of each task in each phase of overload.

    Args:
        left: by phase the share of the server's cores that is left for work; it is what the tasks divide.
        answer_weight: seconds that answers get for each second of pictures, while both wait; the server's setting.
        max_queue_s: seconds that an accepted request may wait, as the server predicts it; None where it is not known.
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
    """Seconds of work done in a second of a window."""
    return lambda window: capacity.share(records, window) * capacity.work


def _waits(found: Found, phase: str, task: Task, max_queue_s: float | None) -> Target:
    """Of those that were accepted: all the time but the engine's own."""
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
