"""Warming up: runs every kind of unit before anybody waits for one, and measures what each costs.

A few short requests of every policy, alone and a few together, straight through the stages: no queue, no scheduler. How
often depends on how fast the model is; the least seconds of each kind count.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial

from flashu_core.acceleration.plan import StepPlan
from flashu_core.engine.latency_model import UnitCost, UnitCosts
from flashu_core.engine.sequential import REQUEST_ID, Sequential, outcome
from flashu_core.timing import Spans
from flashu_core.types import GenerateRequest, GenerateResult, Pixels, UnderstandRequest

FEW = 4  # requests together, for what a row adds
ROUNDS = 3
GRAPH_ROUNDS = 3  # a graph is captured when its work recurs: the third time it is what it will be
BUDGET_S = 1.0  # no round begins after so long; the first always runs
# Of four steps with a head state for every second, `flashu` prunes in the first, skips layers in the second,
# reuses in the third and runs everything in the last.
POINTS = 5
HEAD_INTERVAL = 2
TOKENS = 4


def warm_up(sequential: Sequential, *, max_batch: int, budget_s: float = BUDGET_S, graphs: bool = False) -> UnitCosts:
    """Runs both tasks on every policy and returns what their units cost on this machine.

    Args:
        sequential: runs the units of one engine.
        max_batch: requests that run together at most.
        budget_s: seconds after which no new round begins.
        graphs: whether passes are captured as CUDA graphs, which takes more than one round whatever that takes.

    Raises:
        FlashUError: this model generates or answers nothing.
    """
    parts = sequential.generate_runner.parts
    meter = _Meter(sequential)
    ends = parts.clock() + budget_s
    sizes = dict.fromkeys((1, min(FEW, max_batch)))
    rounds = [rows for _ in range(ROUNDS) for rows in sizes]
    minimum = GRAPH_ROUNDS * len(sizes) if graphs else 1
    for index, rows in enumerate(rounds):
        if index >= minimum and parts.clock() >= ends:
            break
        for policy in parts.policies:
            picture = meter.generate(policy, rows)
            meter.answer(policy, picture, rows)
            meter.answer(policy, None, 1)
    width, height = parts.info.sizes[0]
    return meter.costs(pixels=width * height)


@dataclass(slots=True)
class _Meter:
    """The least seconds of each kind of unit, by its rows."""

    sequential: Sequential
    seconds: dict[str, dict[int, float]] = field(default_factory=dict)

    def generate(self, policy: str, images: int) -> Pixels:
        generate_runner = self.sequential.generate_runner
        own = generate_runner.parts.policies[policy].generate
        request = GenerateRequest(
            prompt="warm-up",
            num_images=images,
            num_inference_steps=POINTS,
            acceleration=policy,
            overrides={"head_interval": min(own.head_interval, HEAD_INTERVAL)},
        )
        sequence = generate_runner.accept(request, request_id=REQUEST_ID, seed=0)
        taken, _, _ = self.sequential.unit("prefix", images, partial(generate_runner.read_prompts, [sequence]))
        self._add("prefix", images, taken)
        while sequence.state is not None and not sequence.state.done:
            plan = sequence.state.plan
            taken, spans, _ = self.sequential.unit("evaluate", images, partial(generate_runner.evaluate, [sequence]))
            self._add_step(plan, images, taken, spans)
        taken, _, events = self.sequential.unit("vae_decode", images, partial(generate_runner.decode, [sequence]))
        self._add("vae_decode", images, taken)
        result = outcome(events)
        assert isinstance(result, GenerateResult)
        return result.images[0]

    def answer(self, policy: str, picture: Pixels | None, requests: int) -> None:
        """Of text alone, where there is no picture; that runs what such an answer needs, and counts as no cost."""
        understand_runner = self.sequential.understand_runner
        sequences = []
        for seed in range(requests):
            # So hot that tokens are sampled at random: an answer that ends at once would leave nothing to measure.
            request = UnderstandRequest(
                question="warm-up", image=picture, max_new_tokens=TOKENS, temperature=10.0, acceleration=policy
            )
            sequences.append(understand_runner.accept(request, request_id=REQUEST_ID, seed=seed))
        for sequence in sequences:
            taken, _, _ = self.sequential.unit("prefill", 1, partial(understand_runner.prefill, [sequence]))
            if picture is not None:
                self._add("prefill", 1, taken)
        while running := [one for one in sequences if one.state is not None and not one.state.done]:
            batch = [one for one in running if one.key == running[0].key]
            taken, _, _ = self.sequential.unit("decode", len(batch), partial(understand_runner.decode, batch))
            if picture is not None:
                self._add("decode", len(batch), taken)

    def costs(self, *, pixels: int) -> UnitCosts:
        parts, found = (
            self.sequential.generate_runner.parts,
            {name: UnitCost.through(by) for name, by in self.seconds.items()},
        )
        full, computed = found["backbone_full"], found["head_computed"]
        return UnitCosts(
            prefix=found["prefix"],
            backbone_full=full,
            # What no policy does is priced as what it would replace, or as nothing where it would replace nothing.
            backbone_pruned=found.get("backbone_pruned", full),
            backbone_not_needed=found.get("backbone_not_needed", UnitCost(0.0, 0.0)),
            head_computed=computed,
            head_reused=found.get("head_reused", computed),
            vae_decode=found["vae_decode"],
            prefill=found["prefill"],
            decode=found.get("decode", found["prefill"]),
            num_inference_steps=parts.info.num_inference_steps,
            guidance_scale=parts.info.guidance_scale,
            pixels=pixels,
            policies={
                name: {task: dict(own) for task, own in tasks.items()}
                for name, tasks in parts.model.config.policies.items()
            },
        )

    def _add_step(self, plan: StepPlan, images: int, taken: float, spans: Spans) -> None:
        """Splits a step's seconds between the head with the guidance, and all that comes before."""
        running = images * (plan.run_cond + plan.run_uncond)
        reading = images * (plan.reads_cond + plan.reads_uncond)
        own = sum(length for name, length in spans.milliseconds() if name in ("head", "guidance")) / 1000
        head = min(own, taken)
        if plan.run_backbone:
            self._add(f"backbone_{plan.ffn}", running, taken - head)
        else:
            self._add("backbone_not_needed", reading, taken - head)
        if plan.head == "compute":
            self._add("head_computed", running, head)
        else:
            self._add("head_reused", reading, head)

    def _add(self, name: str, rows: int, seconds: float) -> None:
        by_rows = self.seconds.setdefault(name, {})
        by_rows[rows] = min(seconds, by_rows.get(rows, seconds))
