"""How long one request takes with the engine to itself: median milliseconds of a picture and of an answer."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from flashu_core import Engine, GenerateRequest, UnderstandRequest
from shapes.prompts import grading_prompts, grading_questions
from shapes.render import render
from shapes.studies import Variant

PICTURES, ANSWERS = 5, 15

R = TypeVar("R")


def alone(engine: Engine, variant: Variant, *, seed: int, points: int | None = None) -> dict[str, float]:
    """Draws and asks one at a time, after one of each that is not counted."""
    side = engine.info.sizes[0][0]
    drawn = [
        GenerateRequest(
            prompt=prompt.text, seed=0, policy=variant.policy, overrides=variant.of("generate"), points=points
        )
        for prompt in grading_prompts(PICTURES + 1, seed)
    ]
    asked = [
        UnderstandRequest(
            question=question.text,
            image=render(scene, side),
            max_new_tokens=8,
            policy=variant.policy,
            overrides=variant.of("vqa"),
        )
        for scene, question in grading_questions(ANSWERS + 1, seed)
    ]
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
