"""Nothing that clients can choose makes an engine hold more: what is kept is bounded, and its keys are exact."""

from __future__ import annotations

import copy
import gc
import random
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flashu_core import Engine, EngineConfig, GenerateRequest, Request, UnderstandRequest
from flashu_core.acceleration.policies import GenerationPolicy, UnderstandingPolicy
from flashu_core.checkpoint.load import Checkpoint
from flashu_core.engine.generation import UNCOND_WAYS
from flashu_core.lru_cache import LruCache
from flashu_core.pathways.understand import PATHS

MIB = 2**20
PICTURE = np.full((64, 64, 3), 90, np.uint8)
LIMITS: dict[str, tuple[float, float]] = {
    "ffn_ratio": (0.01, 0.9),
    "hybrid_threshold": (0.0, 1.0),
    "skip_ratio": (0.01, 0.9),
    "skip_interval": (1, 1000),
    "points": (0.1, 0.5),
    "low_guidance": (0.0, 10.0),
    "guidance_threshold": (0.0, 1.0),
    "head_interval": (1, 1000),
    "token_ratio": (0.0, 0.9),
    "token_layer": (1, 3),
}


def random_parameters(policy: type, source: random.Random) -> dict[str, float]:
    """A new value of every parameter of a task."""
    overrides = {}
    for one in fields(policy):
        low, high = LIMITS[one.name]
        whole = isinstance(one.default, int)
        overrides[one.name] = source.randint(int(low), int(high)) if whole else source.uniform(low, high)
    return overrides


def generation(source: random.Random) -> Request:
    return GenerateRequest(
        prompt="a",
        seed=1,
        acceleration="flashu",
        guidance_scale=source.uniform(0, 100),
        overrides=random_parameters(GenerationPolicy, source),
    )


def question(source: random.Random) -> Request:
    return UnderstandRequest(
        question="what?",
        image=PICTURE if source.random() < 0.5 else None,
        max_new_tokens=source.randint(1, 4),
        temperature=source.uniform(0, 10),
        top_p=source.uniform(0.1, 1),
        acceleration="flashu",
        overrides=random_parameters(UnderstandingPolicy, source),
    )


@pytest.fixture(scope="module")
def engine(tiny: Checkpoint) -> Engine:
    engine = Engine(replace(tiny, model=copy.deepcopy(tiny.model)), EngineConfig(calibrated=False))
    engine.warm_up()
    return engine


def resident() -> int:
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


@pytest.mark.parametrize("make", [generation, question])
def test_hundreds_of_distinct_values_of_every_parameter(engine: Engine, make: Callable[[random.Random], Any]) -> None:
    source = random.Random(1)

    def run(count: int) -> tuple[dict[str, int], int]:
        for _ in range(count):
            engine.submit(make(source), request_id="a")
            for _ in range(4):  # it begins, is read on its path, and runs on it
                engine.step()
            engine.cancel("a")
            while not engine.idle:
                engine.step()
        return engine.memory, resident()

    (_, before), (held, after) = run(200), run(300)
    (minimum, _) = run(1)
    assert held["caches"] == 0
    # What bounded caches hold when full: 64 readings of the empty prompt, 8 of what precedes a question, with and
    # without a picture, and 8 lists of neurons.
    model = engine._parts.model
    position = model.backbone_position_size + model.head_position_size
    bound = UNCOND_WAYS * 2 * position + 2 * PATHS * 64 * position + 8 * 8 * model.config.backbone.layers * 256
    assert minimum["shared"] <= bound < MIB * 64
    assert after - before < 12 * MIB, f"it grew by {(after - before) / MIB:.1f} MiB"


def test_what_was_used_last_is_kept() -> None:
    made: list[int] = []

    def get(key: int) -> int:
        return kept.get(key, lambda: made.append(key) or -key)  # type: ignore[func-returns-value]

    kept: LruCache[int, int] = LruCache(2)
    assert [get(key) for key in (1, 2, 1, 3, 1, 2)] == [-1, -2, -1, -3, -1, -2]
    assert made == [1, 2, 3, 2]
    assert (len(kept), sorted(kept)) == (2, [-2, -1])
