"""Admission before the engine's scheduler, in simulated time: what is accepted waits as long as it may, and each task
gets its share."""

from __future__ import annotations

import json

import pytest

from benchmarks import admission_sim
from benchmarks.admission_sim import Found, Stream, capacity, mixes, simulate
from flashu_core.config import EngineConfig
from flashu_core.engine.latency_model import UnitCosts
from flashu_core.types import Task
from load_tests import results
from load_tests.bench.statistics import quantile
from server.worker.admission import QueueLimits

COSTS = UnitCosts.from_json(json.loads((results.RESULTS / "unit-costs-shapes-64.json").read_text())["costs"])
CONFIG = EngineConfig()
LIMIT_S = 10.0
SECONDS = 60.0
LIMITS = QueueLimits(seconds=LIMIT_S, batch=CONFIG.max_batch, rows=CONFIG.running, answer_weight=CONFIG.answer_weight)
CAPACITY = {
    task: capacity(COSTS, Stream(task=task, rate=1.0), config=CONFIG, policy="flashu", seed=0)
    for task in ("generate", "vqa")
}
SHARES: dict[Task, float] = {"generate": 0.2, "vqa": 0.8}


def found(mix: str, seed: int = 0) -> dict[str, Found]:
    streams = mixes(CAPACITY["generate"], CAPACITY["vqa"], SECONDS)[mix]
    return simulate(COSTS, streams, config=CONFIG, queue_limits=LIMITS, policy="flashu", seed=seed)


def waited(one: Found, share: float = 0.95) -> float:
    seconds = quantile(one.waits, share)
    assert seconds is not None
    return seconds


@pytest.mark.parametrize("mix", ["long after ended at once", "middling after ended at once"])
def test_what_ended_at_once_lets_no_queue_of_long_ones_in(mix: str) -> None:
    streams = found(mix)
    assert waited(streams["short"]) <= admission_sim.WITHIN * LIMIT_S
    assert streams["short"].taken >= 0.85 * streams["short"].offered
    assert streams["ended at once"].taken >= 0.85 * streams["ended at once"].offered
    if mix.startswith("middling"):
        assert waited(streams["long"]) <= admission_sim.WITHIN * LIMIT_S


@pytest.mark.parametrize("mix", ["pictures 2x beside questions", "pictures 10x beside questions", "both 10x"])
def test_pictures_keep_their_share_beside_questions_and_wait_as_long_as_they_may(mix: str) -> None:
    streams = found(mix)
    assert waited(streams["generate"]) <= admission_sim.WITHIN * LIMIT_S
    assert streams["generate"].taken / streams["generate"].seconds >= 0.8 * SHARES["generate"] * CAPACITY["generate"]
    assert waited(streams["vqa"]) <= admission_sim.WITHIN * LIMIT_S
    served = streams["vqa"].taken / streams["vqa"].seconds
    assert served >= 0.9 * min(streams["vqa"].offered / streams["vqa"].seconds, SHARES["vqa"] * CAPACITY["vqa"])


def test_pictures_alone_at_twice_what_can_be_done() -> None:
    pictures = found("pictures 2x")["generate"]
    assert waited(pictures) <= admission_sim.WITHIN * LIMIT_S
    assert pictures.taken / pictures.seconds >= 0.9 * CAPACITY["generate"]


def test_a_giant_and_what_runs_beside_it() -> None:
    streams = mixes(CAPACITY["generate"], CAPACITY["vqa"], SECONDS)["pictures beside a giant"]
    for seed in range(5):  # one in which a giant comes
        beside = simulate(COSTS, streams, config=CONFIG, queue_limits=LIMITS, policy="flashu", seed=seed)
        if beside["giant"].taken:
            break
    assert beside["giant"].taken
    assert beside["generate"].taken >= 0.7 * beside["generate"].offered
    assert waited(beside["generate"]) <= admission_sim.WITHIN * LIMIT_S
