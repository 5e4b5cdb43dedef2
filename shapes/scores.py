"""Adding judgements up to scores: shares with their 95 % intervals, by category and in all, as GenEval does."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from types import MappingProxyType

NORMAL_95 = 1.959964


@dataclass(frozen=True, kw_only=True, slots=True)
class Mean:
    """A mean over `count` trials, or a share of them, with the bounds of its 95 % confidence interval."""

    mean: float
    low: float
    high: float
    count: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Score:
    """The shares of prompts met, by category and overall; overall is the plain mean of the categories."""

    categories: Mapping[str, Mean]
    overall: Mean


def wilson(mean: float, count: float) -> tuple[float, float]:
    """The 95 % Wilson score interval of a share `mean` of `count` trials; raises ValueError outside these."""
    if not 0.0 <= mean <= 1.0 or count <= 0:
        raise ValueError(f"not a share of trials: {mean} of {count}")
    square = NORMAL_95**2 / count
    middle = (mean + square / 2.0) / (1.0 + square)
    reach = NORMAL_95 * sqrt(mean * (1.0 - mean) / count + square / (4.0 * count)) / (1.0 + square)
    return max(0.0, middle - reach), min(1.0, middle + reach)


def score(results: Iterable[tuple[str, bool]]) -> Score:
    """The score of judged prompts, given as (category, met); raises ValueError where there are none.

    Categories without a prompt are excluded from the overall mean.
    """
    judged: dict[str, list[bool]] = {}
    for category, met in results:
        judged.setdefault(category, []).append(met)
    if not judged:
        raise ValueError("there is nothing to score")
    categories = {category: share(met) for category, met in judged.items()}
    shares = list(categories.values())
    overall = sum(each.mean for each in shares) / len(shares)
    # A mean of unevenly filled categories is less certain than its number of prompts says: count as many
    # trials as equal categories would need for the same variance.
    effective = len(shares) ** 2 / sum(1.0 / each.count for each in shares)
    low, high = wilson(overall, effective)
    return Score(
        categories=MappingProxyType(categories),
        overall=Mean(mean=overall, low=low, high=high, count=sum(each.count for each in shares)),
    )


def share(met: Sequence[bool]) -> Mean:
    """The share of successes; raises ValueError where there are no trials."""
    mean = sum(met) / max(len(met), 1)
    low, high = wilson(mean, len(met))
    return Mean(mean=mean, low=low, high=high, count=len(met))
