"""How long one request takes with the engine to itself: median milliseconds of a picture and of an answer."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from flashu_core import Engine, GenerateRequest, UnderstandRequest

PICTURES, ANSWERS = 7, 15  # that are timed; one more of each comes first and meets first-time costs

R = TypeVar("R")


def alone(
    engine: Engine,
    pictures: Mapping[str, Sequence[GenerateRequest]],
    answers: Mapping[str, Sequence[UnderstandRequest]],
) -> dict[str, dict[str, float]]:
    """Draws and asks one at a time, the variants taking turns so that whatever else the machine does meets them all.

    Args:
        pictures, answers: the requests of each variant, by its name: `PICTURES + 1` and `ANSWERS + 1`.

    Returns:
        `picture_ms` and `answer_ms` by the variants' names.
    """
    drawn, asked = _medians(engine.generate, pictures), _medians(engine.understand, answers)
    return {name: {"picture_ms": drawn[name], "answer_ms": asked[name]} for name in pictures}


def _medians(call: Callable[[R], object], requests: Mapping[str, Sequence[R]]) -> dict[str, float]:
    """The median of all of a variant's requests but the first."""
    times: dict[str, list[float]] = {name: [] for name in requests}
    for turn in zip(*requests.values(), strict=True):
        for name, request in zip(requests, turn, strict=True):
            begun = time.perf_counter()
            call(request)
            times[name].append((time.perf_counter() - begun) * 1000)
    return {name: round(statistics.median(own[1:]), 2) for name, own in times.items()}
