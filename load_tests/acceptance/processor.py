"""CPU time of the front end for each image, answer and refusal, and the share of the server's cores that refusals leave
to the model in an overload."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from load_tests.acceptance.phases import SLOW, Found
from load_tests.acceptance.plan import recovery
from load_tests.bench.record import Record
from load_tests.bench.scrape import grown

_CPU = "process_cpu_seconds_total"  # of the front end; its children have metrics of their own
_REFERENCE = "capacity mix"  # the phase that C is of
_KINDS = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Cores:
    """The server's cores.

    Attributes:
        server: number of cores it may use.
        shared: whether the load generator runs on the same ones.
    """

    server: int
    shared: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class FrontEndCosts:
    """CPU seconds of the front end per request, its connection included."""

    picture: float
    answer: float
    refusal: float


def front_end_costs(found: Found) -> FrontEndCosts | None:
    """The least-squares solution over all phases without slow clients; None without /metrics."""
    rows: list[list[float]] = []
    spent: list[float] = []
    for phase, (before, after) in found.scraped.items():
        seconds = grown(before, after, _CPU).get("all")
        if seconds is None or phase in found.blocks(SLOW):
            continue
        # One pair of scrapes covers an overload and its recovery.
        records = [one for one in found.records if one.phase in (phase, recovery_of(phase))]
        rows.append([*_counts(records), _length(records)])
        spent.append(seconds)
    if len(rows) <= _KINDS or not any(row[_KINDS - 1] for row in rows):
        return None
    solved = np.linalg.lstsq(np.array(rows), np.array(spent), rcond=None)[0]
    picture, answer, refusal, _ = (max(float(one), 0.0) for one in solved)
    return FrontEndCosts(picture=picture, answer=answer, refusal=refusal)


def left_for_work(found: Found, phase: str, costs: FrontEndCosts | None, cores: Cores | None) -> float:
    """The share of the server's cores that refusals (and a load generator on the same cores) leave, relative to the
    phase in which C was measured; 1 if unknown."""
    if cores is None:
        return 1.0

    def taken(name: str) -> float:
        refusals = 0.0 if costs is None else costs.refusal * _refused_per_s(found, name)
        return refusals + (found.busy[name] if cores.shared else 0.0)

    reference = taken(_REFERENCE) if _REFERENCE in found.windows else 0.0
    return 1.0 - min(max(taken(phase) - reference, 0.0) / cores.server, 1.0)


def recovery_of(phase: str) -> str | None:
    """The phase after an overload."""
    prefix, _, factor = phase.partition(" ")
    return recovery(float(factor.removesuffix("x"))) if prefix == "overload" else None


def _counts(records: list[Record]) -> list[float]:
    completed = [one for one in records if one.outcome == "completed"]
    pictures = sum(one.task == "generate" for one in completed)
    return [pictures, len(completed) - pictures, sum(one.outcome == "refused" for one in records)]


def _length(records: list[Record]) -> float:
    """Seconds, for the front end's constant work."""
    return max(one.end for one in records) - min(one.sent for one in records) if records else 0.0


def _refused_per_s(found: Found, phase: str) -> float:
    return sum(one.outcome == "refused" for one in found.of(phase)) / found.windows[phase].seconds
