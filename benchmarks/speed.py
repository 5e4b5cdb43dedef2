"""Times the engine against the original's loop on a CPU: `python -m benchmarks.speed [--runs N]`.

A model of about 130 M random parameters, in proportion to the 1.5B one, generates and answers with both
implementations, alternating, so that other load on the machine affects both. Both run the same number of steps, fewer
than an image needs, since each costs the same. The ratios of medians matter; the times are this machine's. Beside other
programs, `--threads 1` keeps threads from waiting for each other.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar, get_args

import torch

from benchmarks import loops
from benchmarks.random_weights import random_module
from flashu_core.acceleration.policies import POLICIES, TaskPolicies, UnderstandingPolicy
from flashu_core.checkpoint.load import choose_dtype
from flashu_core.config import BackboneConfig, DtypeName, HeadConfig, ModelConfig, VisionConfig
from flashu_core.machine import describe_machine
from flashu_core.model.showo2 import Showo2
from flashu_core.timing import Spans
from load_tests import results

Result = TypeVar("Result")

MIDDLE = ModelConfig(
    backbone=BackboneConfig(hidden_size=512, layers=12, heads=8, key_value_heads=2, ffn_size=2816, vocabulary=32_000),
    vision=VisionConfig(hidden_size=384, layers=11, heads=8, ffn_size=1408, position_grid=18),
    head=HeadConfig(hidden_size=640, blocks=4, heads=10, key_value_heads=2, ffn_size=2560),
    grids=((18, 18),),
)
# The published settings scaled to 324 instead of 729 image tokens: prompts of 64, sequences of 1024.
PROMPT_TOKENS, PADDED, QUESTION_TOKENS = 28, 456, 28
GUIDANCE = 5.0
TARGETS: Mapping[str, Mapping[str, float]] = {
    "exact": {"generation": 1.3, "answer": 8.0},
    "flashu": {"generation": 4.2, "answer": 10.0, "prefill": 1.35},
}
PREFILL_TOKENS, BUDGET = 8, 128


def alternate(
    first: Callable[[], Result], second: Callable[[], Result], runs: int
) -> tuple[list[float], list[float], tuple[Result, Result]]:
    """Seconds of each call, alternating, and both results."""
    seconds: tuple[list[float], list[float]] = ([], [])
    results: list[Result] = []
    for _ in range(runs):
        results = []
        for times, work in zip(seconds, (first, second), strict=True):
            begun = time.perf_counter()
            results.append(work())
            times.append(time.perf_counter() - begun)
    return *seconds, (results[0], results[1])


def measure(model: Showo2, policy: str, *, num_inference_steps: int, tokens: int, runs: int) -> dict[str, Any]:
    """Medians, ratios and the difference between both implementations' results."""
    generation = loops.example_generation(
        model, prompt_tokens=PROMPT_TOKENS, num_inference_steps=num_inference_steps, guidance_scale=GUIDANCE
    )
    question = loops.example_question(model, question_tokens=QUESTION_TOKENS)
    chosen, exact = POLICIES[policy], POLICIES["exact"].vqa
    _warm_up(model, replace(generation, num_inference_steps=2), question, chosen)
    engine_times, original_times, pictures = alternate(
        lambda: loops.run_pathway(model, generation, chosen.generate, Spans(model.device)).latents,
        lambda: loops.generate_original(model, generation, padded=PADDED),
        runs,
    )
    engine_answer, original_answer, answers = alternate(
        lambda: loops.answer(model, question, chosen.vqa, tokens=tokens),
        lambda: loops.answer_original(model, question, tokens=tokens),
        runs,
    )
    seconds = {
        "generation": (statistics.median(engine_times), statistics.median(original_times)),
        "answer": (statistics.median(engine_answer), statistics.median(original_answer)),
    }
    if policy != "exact":
        # A short answer under the default token limit, with the system prompt read and the latents encoded before: the
        # time is mostly the prefill.
        system = loops.read_system(model, question)

        def short(policy: UnderstandingPolicy) -> list[int]:
            return loops.answer(model, question, policy, tokens=PREFILL_TOKENS, system=system, budget=BUDGET)

        _ = short(chosen.vqa), short(exact)
        own, plain, _ = alternate(lambda: short(chosen.vqa), lambda: short(exact), 3 * runs)
        seconds["prefill"] = (statistics.median(own), statistics.median(plain))
    return {
        **{name: original / engine for name, (engine, original) in seconds.items()},
        "medians_s": {name: {"engine": e, "reference": r} for name, (e, r) in seconds.items()},
        "seconds": {
            "generation": {"engine": engine_times, "reference": original_times},
            "answer": {"engine": engine_answer, "reference": original_answer},
        },
        "latents_difference": (pictures[0] - pictures[1]).abs().max().item(),
        "same_tokens": sum(a == b for a, b in zip(*answers, strict=True)),
        "points": {
            "engine": loops.policy_steps(chosen.generate, num_inference_steps),
            "reference": num_inference_steps,
        },
        "tokens": tokens,
        "runs": runs,
        "policy": policy,
        "dtype": str(model.dtype).removeprefix("torch."),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
    }


def _warm_up(model: Showo2, generation: loops.GenerateSequence, question: loops.Question, policy: TaskPolicies) -> None:
    # The first pass pays for page faults, whichever side runs first.
    loops.run_pathway(model, generation, policy.generate, Spans(model.device))
    loops.generate_original(model, generation, padded=PADDED)
    loops.answer(model, question, policy.vqa, tokens=2)
    loops.answer_original(model, question, tokens=2)


def _table(found: dict[str, Any]) -> str:
    lines = [
        f"{found['parameters'] / 1e6:.0f} M parameters, {found['dtype']}, policy {found['policy']}, "
        f"{found['runs']} runs",
        f"{'':<34}{'engine':>10}{'original':>10}{'ratio':>8}{'target':>8}",
    ]
    names = {
        "generation": f"picture, {found['points']['engine']} and {found['points']['reference']} points (s)",
        "answer": f"answer of {found['tokens']} tokens (s)",
        "prefill": f"{PREFILL_TOKENS} of {BUDGET} tokens, beside exact",
    }
    for name, label in names.items():
        if name not in found:
            continue
        medians = found["medians_s"][name]
        lines.append(
            f"{label:<34}{medians['engine']:>10.3f}{medians['reference']:>10.3f}{found[name]:>8.2f}"
            f"{_targets(found['policy']).get(name, math.nan):>8.2f}"
        )
    lines.append(
        f"latents differ by {found['latents_difference']:.1e} at most; "
        f"{found['same_tokens']} of {found['tokens']} tokens are the same"
    )
    return "\n".join(lines)


def _targets(policy: str) -> Mapping[str, float]:
    return TARGETS.get(policy, {})


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures and prints; returns 1 if a ratio misses its target, except with `--quick`."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed", description=__doc__)
    parser.add_argument("--acceleration", choices=sorted(POLICIES), default="flashu")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument(
        "--num-inference-steps", type=int, help="of the original's grid; 9, or 50 where denoising steps differ"
    )
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--dtype", choices=get_args(DtypeName), default="auto")
    parser.add_argument("--threads", type=int, help="threads of torch; all cores by default")
    parser.add_argument(
        "--quick", action="store_true", help="one run of 3 inference steps and 8 tokens, to check that it works"
    )
    parser.add_argument("--save", metavar="NAME", help="also write benchmarks/results/NAME.json")
    options = parser.parse_args(arguments)
    options.num_inference_steps = options.num_inference_steps or (9 if options.acceleration == "exact" else 50)
    if options.quick:
        options.runs, options.num_inference_steps, options.tokens = 1, 3, 8
    if options.threads:
        torch.set_num_threads(options.threads)
    # Denormals, which random weights produce and trained ones hardly do, are far slower on a CPU.
    torch.set_flush_denormal(True)
    with torch.inference_mode():
        model = random_module(lambda: Showo2(MIDDLE), dtype=choose_dtype(options.dtype, "cpu"))
        found = measure(
            model,
            options.acceleration,
            num_inference_steps=options.num_inference_steps,
            tokens=options.tokens,
            runs=options.runs,
        )
    found["machine"] = describe_machine()
    print(_table(found))
    if options.save:
        results.save(options.save, found)
    print(json.dumps(found))
    return int(
        not options.quick and any(found[name] < target for name, target in _targets(options.acceleration).items())
    )


if __name__ == "__main__":
    raise SystemExit(main())
