"""The promises under load, judged by a run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from flashu_core import EngineConfig
from flashu_core.types import Task
from load_tests.acceptance.bounded_queue import batch_rates, kept
from load_tests.acceptance.phases import SLOW, WITHOUT, Found
from load_tests.acceptance.plan import TASKS, overload, recovery
from load_tests.acceptance.processor import Cores, FrontEndCosts, front_end_costs, left_for_work
from load_tests.acceptance.shares import fair_shares, share_targets
from load_tests.acceptance.slow import CUT_READER
from load_tests.acceptance.summary import STEPS, abnormal_after, promised_beside_pictures
from load_tests.acceptance.target import Target
from load_tests.bench.statistics import by_chance, least_ratio, quantile, settled_after

_SATURATED = 0.9  # of what a queue of that length can accept
_OVERLOADED: Mapping[bool, float] = {False: 0.9, True: 0.8}  # of what is left of C; True at ten times C and more
_REFUSAL_CPU_S = 0.002
_MANY = 10.0
_REFUSAL_S = 0.1
_RECOVERY_S = 5.0
_FRONT_END_S = 0.008
_SLOWER = 1.2
_ENOUGH = 100  # minimum answers for a meaningful p99
MAX_SLOW = 2.0  # times the server's timeouts, within which a slow client must be cut off


def judge(
    found: Found,
    summary: Mapping[str, Any],
    *,
    slow_limit_s: float | None = None,
    max_queue_s: float | None = None,
    answer_weight: float = 4.0,
    cores: Cores | None = None,
) -> list[Target]:
    """The promises of all phases that ran.

    Args:
        summary: of `report.summarise`.
        slow_limit_s: the server's timeout of slow clients; None if unknown.
        max_queue_s: seconds that an accepted request may wait; None if unknown.
        answer_weight: seconds of answers per second of generation while both wait.
        cores: cores of the server; None if unknown, then refusals must take none of them.
    """
    phases = summary["phases"]
    costs = front_end_costs(found)
    overloads = [overload(factor) for factor in _factors(found)]
    left = {phase: left_for_work(found, phase, costs, cores) for phase in ("saturation", *overloads)}
    return [
        _answers(found, phases, summary["step_s"]),
        _saturation(found, phases, left["saturation"], answer_weight, max_queue_s),
        *_throughput(found, phases, left),
        *share_targets(
            found, {phase: left[phase] for phase in overloads}, answer_weight=answer_weight, max_queue_s=max_queue_s
        ),
        _refusal_cost(costs),
        *_refusals(found, phases),
        *_recoveries(found),
        *_whole(found),
        *_slow(found, phases, slow_limit_s),
        Target(
            name="front end, an answer at idle, median",
            unit="s",
            limit=_FRONT_END_S,
            measured=summary["front_end_s"]["vqa"]["p50"],
        ),
    ]


def _p99(phases: Mapping[str, Any], phase: str, task: str = "vqa") -> float | None:
    found: float | None = phases[phase]["tasks"][task]["latency_s"]["p99"]
    return found


def _answers(found: Found, phases: Mapping[str, Any], step: Mapping[str, Any]) -> Target:
    name, unit, measured = "answers beside pictures, p99", "s", _p99(phases, "mixed")
    limit = promised_beside_pictures(found)
    if limit is None:
        return Target(name=name, unit=unit, limit=None, measured=measured)
    note = (
        f"alone {_p99(phases, 'alone'):.3f} s, {STEPS} denoising steps of {step['p99']:.3f} s at p99 "
        f"({step['source']}); {phases['mixed']['tasks']['vqa']['completed']} answers"
    )
    return Target(name=name, unit=unit, limit=limit, measured=measured, note=note)


def _saturation(
    found: Found, phases: Mapping[str, Any], left: float, answer_weight: float, max_queue_s: float | None
) -> Target:
    """Compared with the share of Poisson arrivals that a queue of that length accepts, by theory; with C if unknown."""
    maximum = 1.0 if max_queue_s is None else _kept(found, answer_weight, max_queue_s)
    chance = _chance(found, "saturation")
    return Target(
        name="goodput, saturation",
        unit="C",
        limit=_SATURATED * left * maximum - chance,
        measured=phases["saturation"]["share_of_capacity"],
        at_least=True,
        note=f"{_per_second(phases['saturation'])}; by theory a queue of that length keeps {maximum:.2f} C; "
        f"{chance:.2f} C by chance",
    )


def _kept(found: Found, answer_weight: float, max_queue_s: float) -> float:
    """The share of C, by work, that a queue bounded in time can accept of an offered C. Each task has its own queue,
    and of the server what the other one leaves."""
    capacity, window = found.capacity, found.windows["saturation"]
    weights: Mapping[Task, float] = {"generate": 1.0, "vqa": answer_weight}
    demand = {
        task: len(found.of("saturation", task)) / window.seconds / capacity.alone[task] / capacity.work
        for task in TASKS
    }
    maximum = 0.0
    for task in TASKS:
        others = sum(demand[other] for other in TASKS if other != task)
        share = max(1.0 - others, fair_shares(dict.fromkeys(TASKS, 1.0), weights, 1.0)[task])
        alone_s = _alone_s(found, task)
        if alone_s is None or demand[task] == 0.0:
            maximum += demand[task]
            continue
        rates = batch_rates(
            alone_s=alone_s / share,
            capacity=capacity.alone[task] * capacity.work * share,
            batch=EngineConfig().max_batch,
            stay_s=max_queue_s + alone_s,
        )
        maximum += demand[task] * kept(demand[task] * capacity.alone[task] * capacity.work, rates)
    return min(maximum, 1.0)


def _alone_s(found: Found, task: Task) -> float | None:
    return quantile([one.latency for one in found.of("idle", task) if one.outcome == "completed"], 0.5)


def _chance(found: Found, phase: str) -> float:
    return by_chance(lambda part: found.capacity.share(found.records, part), found.windows[phase])


def _throughput(found: Found, phases: Mapping[str, Any], left: Mapping[str, float]) -> list[Target]:
    chance = {phase: _chance(found, phase) for phase in left}
    return [
        Target(
            name=f"goodput, {phase}",
            unit="C",
            limit=_OVERLOADED[factor >= _MANY] * left[phase] - chance[phase],
            measured=phases[phase]["share_of_capacity"],
            at_least=True,
            note=f"{_per_second(phases[phase])}; refusals leave {left[phase]:.2f} of the server's cores; "
            f"{chance[phase]:.2f} C by chance",
        )
        for factor in _factors(found)
        for phase in (overload(factor),)
    ]


def _per_second(phase: Mapping[str, Any]) -> str:
    return f"{phase['completed_per_s']:.1f} a second of {phase['offered_per_s']:.1f} offered"


def _refusal_cost(costs: FrontEndCosts | None) -> Target:
    """Limits what a refusal may cost, because goodput is excused for that cost."""
    return Target(
        name="a refusal, CPU time of the front end",
        unit="s",
        limit=_REFUSAL_CPU_S,
        measured=None if costs is None else costs.refusal,
        vacuous=costs is None,
        note=""
        if costs is None
        else f"a picture {1000 * costs.picture:.1f} ms, an answer {1000 * costs.answer:.1f} ms; by least squares",
    )


def _refusals(found: Found, phases: Mapping[str, Any]) -> list[Target]:
    refused = [(name, phase) for name, phase in phases.items() if phase["refused"]]
    if not refused:
        return [Target(name="refusals, p99", unit="s", limit=_REFUSAL_S, measured=None, vacuous=True)]
    return [
        *(
            Target(
                name=f"refusals, p99, {name}",
                unit="s",
                limit=_REFUSAL_S,
                measured=phase["refusal_s"]["p99"],
                note=f"{phase['refused']} refused; the client itself was late by "
                f"{phase['client']['late_s']['p99']:.3f} s at p99",
            )
            for name, phase in refused
        ),
        Target(
            name="refusals without Retry-After",
            unit="",
            limit=0,
            measured=sum(one.outcome == "refused" and one.retry_after is None for one in found.records),
        ),
    ]


def _recoveries(found: Found) -> list[Target]:
    return [
        Target(
            name=f"normal again {recovery(factor)}",
            unit="s",
            limit=_RECOVERY_S,
            measured=settled_after(abnormal_after(found, factor)),
            note=_last_refusal(found, recovery(factor)),
        )
        for factor in _factors(found)
    ]


def _last_refusal(found: Found, phase: str) -> str:
    start = found.windows[phase].start
    refused = [record.scheduled - start for record in found.of(phase) if record.outcome == "refused"]
    return f"the last refusal after {max(refused):.1f} s" if refused else "no refusal"


def _whole(found: Found) -> list[Target]:
    """Only complete responses and refusals under any load, warm-up and lead-ins included."""
    broken = Counter(f"{one.phase}: {one.error}" for one in found.records if one.outcome == "broken")
    failed = Counter(f"{one.phase}: {one.status}" for one in found.records if one.outcome == "failed")
    return [
        Target(name=name, unit="", limit=0, measured=counts.total(), note=_listed(counts))
        for name, counts in (("connections broken", broken), ("neither completed nor refused", failed))
    ]


def _listed(counts: Mapping[str, int]) -> str:
    return "; ".join(f"{name}, {count} times" for name, count in counts.items())


def _slow(found: Found, phases: Mapping[str, Any], limit_s: float | None) -> list[Target]:
    if found.slow is None:
        return []
    targets = [_answers_beside_slow(found)]
    for kind, longest in found.slow.longest_s.items():
        targets.append(
            Target(
                name=f"slow {kind} cut off within",
                unit="s",
                limit=None if limit_s is None else MAX_SLOW * limit_s,
                measured=longest if limit_s is not None else None,
                vacuous=limit_s is None,
                note=f"{found.slow.cut[kind]} cut off",
            )
        )
    blocks = found.blocks(SLOW)
    shown = all(any(found.scraped[block]) for block in blocks)
    targets.append(
        Target(
            name="clients that do not read, cut off",
            unit="",
            limit=found.slow.readers * len(blocks),
            measured=sum(phases[block]["rejected"].get(CUT_READER, 0) for block in blocks)
            if limit_s is not None and shown
            else None,
            at_least=True,
            vacuous=limit_s is None or not shown,
        )
    )
    return targets


def _answers_beside_slow(found: Found) -> Target:
    """Missed if chance does not explain the difference, or with too few answers."""
    seconds = {
        kind: [
            one.latency for block in found.blocks(kind) for one in found.of(block, "vqa") if one.outcome == "completed"
        ]
        for kind in (SLOW, WITHOUT)
    }
    enough = min(map(len, seconds.values())) >= _ENOUGH
    p99 = {kind: quantile(values, 0.99) or 0.0 for kind, values in seconds.items()}
    return Target(
        name="answers beside slow clients, p99, of that without, at least (95 % confidence)",
        unit="",
        limit=_SLOWER,
        measured=least_ratio(seconds[SLOW], seconds[WITHOUT], 0.99) if enough else None,
        note=f"{p99[SLOW]:.3f} s of {p99[WITHOUT]:.3f} s; {len(seconds[SLOW])} answers of {len(seconds[WITHOUT])}",
    )


def _factors(found: Found) -> Sequence[float]:
    prefix = overload(0.0).removesuffix("0x")
    return [float(phase[len(prefix) : -1]) for phase in found.windows if phase.startswith(prefix)]
