"""Simulates the scheduler under load: `python -m benchmarks.schedule_sim`.

The engine's own scheduler and first in, first out serve the same mixed Poisson traces in simulated time with recorded
costs of units. `--record` first measures those of the embedded model on this machine. Latencies over load are written
to `benchmarks/results/`, as numbers and as a plot.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.queueing import Arrival, Job, Outcome, poisson, serve, serve_in_order
from flashu_core.acceleration.plan import Schedule, make_schedule
from flashu_core.acceleration.policies import POLICIES, with_own
from flashu_core.analysis.charts import new_figure
from flashu_core.config import EngineConfig
from flashu_core.engine.engine import Engine
from flashu_core.engine.latency_model import UnitCosts
from flashu_core.engine.scheduler import Bound, Scheduler
from flashu_core.machine import describe_machine
from flashu_core.types import Task
from load_tests import results
from load_tests.bench.statistics import quantile

LOADS = (0.1, 0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.3, 1.5)
PICTURES = 0.25  # of the requests
TOKENS = (1, 16)  # of an answer
GOAL_LOAD = 0.7  # load of images in the promise about answers
GOAL_ANSWERS = 0.05  # share of the machine's time for answers in that promise
SKIPPED = 0.1  # share of the requests at the start, which meet an idle machine
NAMES: Mapping[Task, str] = {"vqa": "answers", "generate": "pictures"}
Serve = Callable[[Sequence[Arrival]], Outcome]


def record() -> UnitCosts:
    """Measured costs of the embedded model's units on this machine."""
    engine = Engine.load(None, EngineConfig())
    engine.warm_up()
    assert engine.costs is not None
    return engine.costs


def make_scheduler(config: EngineConfig) -> Scheduler[Job]:
    """A scheduler as the engine makes it, without limits in bytes."""
    bound = Bound(rows=config.running)
    return Scheduler(config.max_batch, answer_weight=config.answer_weight, bounds={"generate": bound, "vqa": bound})


def _quantile(values: Sequence[float], share: float) -> float:
    """NaN for no values."""
    found = quantile(values, share)
    return math.nan if found is None else found


def summarise(outcome: Outcome) -> dict[str, dict[str, float]]:
    """Quantiles of each task's latencies in seconds, without the first requests."""
    ordered = sorted(outcome.latencies, key=lambda latency: latency.at)
    counted = ordered[int(len(ordered) * SKIPPED) :]
    found = {}
    for task, name in NAMES.items():
        seconds = [latency.seconds for latency in counted if latency.task == task]
        found[name] = {"p50": _quantile(seconds, 0.5), "p99": _quantile(seconds, 0.99), "count": len(seconds)}
    return found


def over_loads(
    costs: UnitCosts, schedule: Schedule, config: EngineConfig, *, loads: Sequence[float], requests: int, seed: int
) -> dict[str, Any]:
    """Latencies of every system at every load; load 1 is the scheduler's throughput with a queue that is never
    empty."""

    def trace(rate: float) -> list[Arrival]:
        rates: dict[Task, float] = {"generate": rate * PICTURES, "vqa": rate * (1 - PICTURES)}
        return poisson(rates, requests, schedule=schedule, tokens=TOKENS, seed=seed)

    maximum = requests / serve(trace(1e9), costs, make_scheduler(config)).ended
    systems: Mapping[str, Serve] = {
        "first in, first out": lambda arrivals: serve_in_order(arrivals, costs, max_batch=1),
        "first in, first out, batched": lambda arrivals: serve_in_order(arrivals, costs, max_batch=config.max_batch),
        "scheduler": lambda arrivals: serve(arrivals, costs, make_scheduler(config)),
    }
    return {
        "capacity_per_s": maximum,
        "systems": {
            name: [{"load": load, **summarise(serve_(trace(load * maximum)))} for load in loads]
            for name, serve_ in systems.items()
        },
    }


def goal(
    costs: UnitCosts, schedule: Schedule, config: EngineConfig, *, requests: int, seed: int
) -> dict[str, float | bool]:
    """The p99 of answers beside images at 70 % of capacity, against the same answers alone."""
    burst = [Arrival(at=0.0, task="generate", schedule=schedule)] * 100
    generation = GOAL_LOAD * len(burst) / serve(burst, costs, make_scheduler(config)).ended
    answer = costs.prefill.seconds(1) + (sum(TOKENS) / 2 - 1) * costs.decode.seconds(1)
    rates: dict[Task, float] = {"generate": generation, "vqa": GOAL_ANSWERS / answer}
    trace = poisson(rates, requests, schedule=schedule, tokens=TOKENS, seed=seed)
    mixed = serve(trace, costs, make_scheduler(config))
    alone = serve([arrival for arrival in trace if arrival.task == "vqa"], costs, make_scheduler(config))
    beside, without = summarise(mixed)["answers"]["p99"], summarise(alone)["answers"]["p99"]
    step = mixed.longest["evaluate"]
    return {
        "answers": sum(arrival.task == "vqa" for arrival in trace),
        "p99_alone": without,
        "p99_beside_pictures": beside,
        "longest_step": step,
        "steps_more": (beside - without) / step,
        "within_two": beside <= without + 2 * step,
    }


def plot(found: Mapping[str, Any], path: Path) -> None:
    """Plots a panel per task: p99 as solid, p50 as dashed lines, a colour per system."""
    figure = new_figure(11, 4.5)
    for name, axes in zip(NAMES.values(), figure.subplots(1, 2), strict=True):
        for index, (system, points) in enumerate(found["systems"].items()):
            for share, line in (("p99", "-"), ("p50", "--")):
                axes.plot(
                    [point["load"] for point in points],
                    [point[name][share] for point in points],
                    line,
                    color=f"C{index}",
                    label=system if line == "-" else None,
                )
        axes.axvline(1.0, color="grey", linewidth=0.8, linestyle=":")
        axes.set(
            title=f"{name}; solid: p99, dashed: median", xlabel="load, as a share of capacity", ylabel="latency (s)"
        )
        axes.set_yscale("log")
        axes.grid(alpha=0.3)
    figure.axes[0].legend(fontsize="small")
    figure.savefig(path)


def _table(found: Mapping[str, Any]) -> str:
    lines = [f"capacity {found['capacity_per_s']:.2f} requests per second; seconds, median and p99"]
    for system, points in found["systems"].items():
        lines += ["", f"{system:<30}" + "".join(f"{name:>22}" for name in NAMES.values())]
        for point in points:
            cells = "".join(f"{point[name]['p50']:>12.3f}{point[name]['p99']:>10.3f}" for name in NAMES.values())
            lines.append(f"  load {point['load']:<23.2f}{cells}")
    promise = found["goal"]
    lines += [
        "",
        f"answers beside pictures at {GOAL_LOAD:.0%}: p99 {promise['p99_beside_pictures']:.3f} s, alone "
        f"{promise['p99_alone']:.3f} s: {promise['steps_more']:.2f} denoising steps more",
    ]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Simulates and saves, after recording costs with `--record`; returns 1 if answers beside images miss their
    goal."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.schedule_sim", description=__doc__)
    parser.add_argument("--record", action="store_true", help="first measure and save the embedded model's costs")
    parser.add_argument("--costs", default="unit-costs-shapes-64", metavar="NAME", help="result with the costs")
    parser.add_argument("--acceleration", choices=sorted(POLICIES), default="flashu")
    parser.add_argument("--loads", type=float, nargs="+", default=LOADS)
    parser.add_argument("--requests", type=int, default=3000, help="in each trace")
    parser.add_argument("--answer-weight", type=float, default=EngineConfig().answer_weight)
    parser.add_argument("--max-batch", type=int, default=EngineConfig().max_batch)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--save", default="schedule-sim", metavar="NAME", help="name of the result and the plot")
    parser.add_argument("--results", type=Path, default=results.RESULTS, metavar="FOLDER")
    options = parser.parse_args(arguments)
    if options.record:
        results.save(options.costs, {"costs": record().to_json(), "machine": describe_machine()}, options.results)
    recorded = json.loads((options.results / f"{options.costs}.json").read_text())
    costs = UnitCosts.from_json(recorded["costs"])
    config = EngineConfig(max_batch=options.max_batch, answer_weight=options.answer_weight)
    policy = with_own(costs.policies)[options.acceleration].generate
    schedule = make_schedule(
        policy.techniques,
        num_inference_steps=policy.inference_steps_of(costs.num_inference_steps),
        guidance_scale=costs.guidance_scale,
    )
    found = {
        "costs": options.costs,
        "policy": options.acceleration,
        "pictures": PICTURES,
        "tokens": list(TOKENS),
        "requests": options.requests,
        "seed": options.seed,
        "max_batch": config.max_batch,
        "answer_weight": config.answer_weight,
        **over_loads(costs, schedule, config, loads=options.loads, requests=options.requests, seed=options.seed),
        "goal": goal(costs, schedule, config, requests=options.requests, seed=options.seed),
        "costs_of": recorded["machine"],
    }
    results.save(options.save, found, options.results)
    plot(found, options.results / f"{options.save}.png")
    print(_table(found))
    return int(not found["goal"]["within_two"])


if __name__ == "__main__":
    raise SystemExit(main())
