"""The simulator on made-up costs: requests come and end as they must, and the command writes what it found."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import schedule_sim
from benchmarks.queueing import Arrival, Outcome, poisson, serve, serve_in_order
from flashu_core import GenerateRequest, UnitCost, UnitCosts
from flashu_core.acceleration.plan import make_schedule
from flashu_core.acceleration.policies import POLICIES
from flashu_core.config import EngineConfig
from flashu_core.engine.scheduler import Scheduler
from load_tests import results

COSTS = UnitCosts(
    prefix=UnitCost(0.01, 0.0),
    backbone_full=UnitCost(0.006, 0.002),
    backbone_pruned=UnitCost(0.005, 0.002),
    backbone_not_needed=UnitCost(0.0, 0.0),
    head_computed=UnitCost(0.003, 0.001),
    head_reused=UnitCost(0.001, 0.0),
    vae_decode=UnitCost(0.0, 0.02),
    prefill=UnitCost(0.0, 0.025),
    decode=UnitCost(0.003, 0.001),
    num_inference_steps=20,
    guidance_scale=2.5,
    pixels=64 * 64,
)
SCHEDULE = make_schedule(POLICIES["flashu"].generate.techniques, num_inference_steps=14, guidance_scale=2.5)


def mixed(rate: float, count: int = 200) -> list[Arrival]:
    rates = {"generate": rate / 4, "vqa": rate * 3 / 4}
    return poisson(rates, count, schedule=SCHEDULE, tokens=(1, 9), seed=3)  # type: ignore[arg-type]


def test_alone_a_request_takes_its_price() -> None:
    price = COSTS.price(GenerateRequest(prompt="a", acceleration="flashu"))
    picture = [Arrival(at=5.0, task="generate", schedule=SCHEDULE)]
    for outcome in (serve(picture, COSTS, Scheduler(8)), serve_in_order(picture, COSTS, max_batch=8)):
        assert outcome.ended == pytest.approx(5.0 + price)
        assert [latency.seconds for latency in outcome.latencies] == [pytest.approx(price)]
    answer = serve([Arrival(at=0.0, task="vqa", tokens=9)], COSTS, Scheduler(8))
    assert answer.ended == pytest.approx(0.025 + 8 * 0.004)


@pytest.mark.parametrize("rate", [1.0, 10.0, 100.0])
def test_whoever_serves_all_requests_end_and_no_work_is_lost(rate: float) -> None:
    trace = mixed(rate)
    outcomes: list[Outcome] = [
        serve(trace, COSTS, Scheduler(8)),
        serve_in_order(trace, COSTS, max_batch=1),
        serve_in_order(trace, COSTS, max_batch=8),
    ]
    tokens = sum(arrival.tokens - 1 for arrival in trace if arrival.task == "vqa")
    for outcome in outcomes:
        assert sorted(latency.at for latency in outcome.latencies) == [arrival.at for arrival in trace]
        assert all(latency.seconds > 0 for latency in outcome.latencies)
        assert sum(outcome.busy.values()) <= outcome.ended
        answers = sum(arrival.task == "vqa" for arrival in trace)
        assert outcome.busy["prefill"] == pytest.approx(answers * 0.025)
        assert outcome.busy["decode"] <= tokens * 0.004 + 1e-9
    assert outcomes[1].busy["decode"] == pytest.approx(tokens * 0.004)


def test_first_in_is_first_out() -> None:
    outcome = serve_in_order(mixed(100.0), COSTS, max_batch=1)
    arrived = [latency.at for latency in outcome.latencies]
    assert arrived == sorted(arrived)


def test_batches_make_a_burst_end_sooner() -> None:
    burst = [Arrival(at=0.0, task="generate", schedule=SCHEDULE)] * 16
    alone = serve_in_order(burst, COSTS, max_batch=1).ended
    assert serve_in_order(burst, COSTS, max_batch=8).ended < 0.7 * alone
    assert serve(burst, COSTS, Scheduler(8)).ended < 0.7 * alone


def test_answers_beside_pictures_keep_their_goal() -> None:
    found = schedule_sim.goal(COSTS, SCHEDULE, EngineConfig(), requests=1500, seed=1)
    assert found["answers"] > 100
    assert found["within_two"]
    assert 0 < found["p99_alone"] <= found["p99_beside_pictures"]


def test_the_command_writes_numbers_and_a_plot(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results.save("made-up", {"costs": COSTS.to_json(), "machine": {"processor": "none"}}, tmp_path)
    arguments = ["--costs", "made-up", "--requests", "300", "--loads", "0.3", "1.2", "--results", str(tmp_path)]
    assert schedule_sim.main(arguments) == 0
    found = json.loads((tmp_path / "schedule-sim.json").read_text())
    assert set(found["systems"]) == {"first in, first out", "first in, first out, batched", "scheduler"}
    for points in found["systems"].values():
        assert [point["load"] for point in points] == [0.3, 1.2]
        assert all(point[name]["p50"] <= point[name]["p99"] for point in points for name in ("answers", "pictures"))
    heavy = {name: points[1]["answers"]["p99"] for name, points in found["systems"].items()}
    assert heavy["scheduler"] < heavy["first in, first out, batched"] < heavy["first in, first out"]
    assert (tmp_path / "schedule-sim.png").read_bytes().startswith(b"\x89PNG")
    assert "capacity" in capsys.readouterr().out


def test_the_embedded_model_s_costs_are_recorded(tmp_path: Path) -> None:
    arguments = ["--record", "--requests", "40", "--loads", "0.5", "--results", str(tmp_path)]
    schedule_sim.main(arguments)
    recorded = json.loads((tmp_path / "unit-costs-shapes-64.json").read_text())
    costs = UnitCosts.from_json(recorded["costs"])
    assert (
        costs.price(GenerateRequest(prompt="a", acceleration="exact"))
        > costs.price(GenerateRequest(prompt="a", acceleration="flashu"))
        > 0
    )
    assert recorded["machine"]["processor"]
