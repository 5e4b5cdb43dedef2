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

PICTURES, ANSWERS = 7, 15

R = TypeVar("R")


def alone(
    engine: Engine, variants: Sequence[Variant], *, seed: int, num_inference_steps: int | None = None
) -> dict[str, dict[str, float]]:
    """Draws and asks one at a time, the variants taking turns so that whatever else the machine does meets them all.

    Returns:
        `picture_ms` and `answer_ms` by the variants' names.
    """
    prompts, questions = grading_prompts(PICTURES + 1, seed), grading_questions(ANSWERS + 1, seed)
    pixels = engine.info.sizes[0][0]
    drawn = _medians(
        engine.generate, [drawings(prompts, variant, num_inference_steps=num_inference_steps) for variant in variants]
    )
    asked = _medians(engine.understand, [askings(questions, variant, pixels=pixels) for variant in variants])
    return {
        variant.name: {"picture_ms": picture, "answer_ms": answer}
        for variant, picture, answer in zip(variants, drawn, asked, strict=True)
    }


def _medians(call: Callable[[R], object], requests: Sequence[Sequence[R]]) -> list[float]:
    """For each of several lists of requests, the median of all but the first, which meets first-time costs."""
    times: list[list[float]] = [[] for _ in requests]
    for turn in zip(*requests, strict=True):
        for own, request in zip(times, turn, strict=True):
            begun = time.perf_counter()
            call(request)
            own.append((time.perf_counter() - begun) * 1000)
    return [round(statistics.median(own[1:]), 2) for own in times]
