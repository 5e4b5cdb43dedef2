"""How long one request takes with the engine to itself: median milliseconds of a picture and of an answer."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from flashu_core import Engine
from shapes.prompts import grading_prompts, grading_questions
from shapes.requests import askings, drawings
from shapes.studies import Variant

PICTURES, ANSWERS = 5, 15

R = TypeVar("R")


def alone(engine: Engine, variant: Variant, *, seed: int, points: int | None = None) -> dict[str, float]:
    """Draws and asks one at a time, after one of each that is not counted."""
    drawn = drawings(grading_prompts(PICTURES + 1, seed), variant, points=points)
    asked = askings(grading_questions(ANSWERS + 1, seed), variant, pixels=engine.info.sizes[0][0])
    return {
        "picture_ms": _median(engine.generate, drawn),
        "answer_ms": _median(engine.ask, asked),
    }


def _median(call: Callable[[R], object], requests: Sequence[R]) -> float:
    times = []
    for request in requests:
        begun = time.perf_counter()
        call(request)
        times.append((time.perf_counter() - begun) * 1000)
    return round(statistics.median(times[1:]), 2)
