"""Where a request's time goes under each policy (arXiv 2603.15271, figure 11), from the timings of the engine's
results."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from flashu_core.acceleration.calibration import Sample
from flashu_core.engine.engine import Engine
from flashu_core.types import (
    GenerateRequest,
    GenerateResult,
    Request,
    Result,
    Task,
    UnderstandRequest,
    UnderstandResult,
)

POLICIES = ("exact", "flashu")
# Timings of a result that are not components.
_SUMS = ("total", "time_to_first_token")
_RESULTS: Mapping[Task, type[Result]] = {"generate": GenerateResult, "vqa": UnderstandResult}


@dataclass(frozen=True, kw_only=True, slots=True)
class ComponentTimes:
    """Means over the requests of one task and policy.

    Attributes:
        milliseconds: by component; `other` is the time outside of all components.
        total: their sum.
        requests: number of timed requests.
        tokens: tokens of an answer, whose length may differ between policies; None for pictures.
        schedule: counts of what ran.
    """

    task: Task
    policy: str
    milliseconds: Mapping[str, float]
    total: float
    requests: int
    tokens: float | None
    schedule: Mapping[str, float]


def timed_requests(
    prompts: Sequence[str], samples: Sequence[Sample], *, max_new_tokens: int, runs: int
) -> list[Request]:
    """Every prompt and question under every policy, `runs` times; policies alternate, so that a change of the machine's
    speed affects all of them."""
    requests: list[Request] = []
    for _ in range(runs):
        for seed, text in enumerate(prompts):
            requests += [GenerateRequest(prompt=text, seed=seed, acceleration=policy) for policy in POLICIES]
        for sample in samples:
            requests += [
                UnderstandRequest(
                    question=sample.question, image=sample.image, max_new_tokens=max_new_tokens, acceleration=policy
                )
                for policy in POLICIES
            ]
    return requests


def run(engine: Engine, requests: Sequence[Request]) -> Iterator[Result]:
    """Runs requests one at a time; the engine should be warmed up."""
    for request in requests:
        yield engine.generate(request) if isinstance(request, GenerateRequest) else engine.understand(request)


def components(results: Sequence[Result]) -> list[ComponentTimes]:
    """The means of each task and policy, in that order."""
    found = []
    for task, kind in _RESULTS.items():
        for policy in POLICIES:
            own = [result for result in results if isinstance(result, kind) and result.acceleration == policy]
            if own:
                found.append(_component_times(task, policy, own))
    return found


def _component_times(task: Task, policy: str, results: Sequence[Result]) -> ComponentTimes:
    milliseconds = _means([_parts(result.timings) for result in results])
    tokens = [result.completion_tokens for result in results if isinstance(result, UnderstandResult)]
    return ComponentTimes(
        task=task,
        policy=policy,
        milliseconds=milliseconds,
        total=sum(milliseconds.values()),
        requests=len(results),
        tokens=sum(tokens) / len(tokens) if tokens else None,
        schedule=_means([result.schedule for result in results]),
    )


def _parts(timings: Mapping[str, float]) -> dict[str, float]:
    parts = {name: value for name, value in timings.items() if name not in _SUMS}
    # `total` starts at the first unit of work, after tokenization.
    measured = sum(value for name, value in parts.items() if name != "tokenize")
    parts["other"] = max(timings["total"] - measured, 0.0)
    return parts


def _means(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: sum(row.get(name, 0.0) for row in rows) / len(rows) for name in names}
