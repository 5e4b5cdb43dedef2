"""Prints the FLOPs of one image and one answer: `python -m benchmarks.cost --size 1.5b --acceleration exact --json`.

Shows the counts of `flops` beside those of the original implementation. Totals are of denoising; the autoencoder, which
no technique changes and the published comparisons exclude, has a line of its own.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from typing import Any

from benchmarks import flops
from flashu_core.acceleration.policies import POLICIES
from flashu_core.config import MODELS
from flashu_core.machine import describe_machine
from load_tests import results

TERA = 1e12


def measure(
    size: str,
    policy: str,
    *,
    num_inference_steps: int | None,
    guidance_scale: float,
    prompt_tokens: int,
    question_tokens: int,
) -> dict[str, Any]:
    """FLOPs of a model under a policy; `prompt_tokens` as in `flops.generation_cost`."""
    config, chosen = MODELS[size], POLICIES[policy]
    original_steps = num_inference_steps or config.num_inference_steps
    num_inference_steps = num_inference_steps or round(config.num_inference_steps * chosen.generate.points)
    cost = flops.generation_cost(
        config,
        chosen.generate,
        num_inference_steps=num_inference_steps,
        guidance_scale=guidance_scale,
        prompt_tokens=prompt_tokens,
    )
    step = flops.reference_step_cost(config, prompt_tokens=prompt_tokens)
    original = step * (original_steps - 1)
    answer = flops.answer_cost(config, chosen.vqa, question_tokens=question_tokens)
    return {
        "size": size,
        "policy": policy,
        "points": num_inference_steps,
        "guidance": guidance_scale,
        "prompt_tokens": prompt_tokens,
        "question_tokens": question_tokens,
        "parameters": flops.parameters(config),
        "generation": {
            "parts": {**cost.parts, "vae_decode": cost.vae_decode},
            "evaluations": list(cost.step.values()),
            "total": cost.denoising,
            "total_with_vae": cost.denoising + cost.vae_decode,
        },
        "reference": {
            "points": original_steps,
            "padded": flops.padded_length(config, prompt_tokens),
            "evaluation": step,
            "total": original,
        },
        "fewer": original / cost.denoising,
        "answer": {**answer.parts, "reference_token": answer.reference_token},
    }


def _table(found: dict[str, Any]) -> str:
    generation, reference = found["generation"], found["reference"]
    lines = [
        f"{found['size']}, policy {found['policy']}, {found['points']} points, guidance {found['guidance']:g}, "
        f"prompt of {found['prompt_tokens']} tokens with begin of sequence and image_start",
        "parameters  " + ", ".join(f"{name} {value / 1e9:.3f} B" for name, value in found["parameters"].items()),
        "",
        "one picture, TFLOP",
        *(f"  {name:<28}{value / TERA:>10.3f}" for name, value in generation["parts"].items()),
        f"  {'total without vae_decode':<28}{generation['total'] / TERA:>10.3f}",
        f"  {'total with vae_decode':<28}{generation['total_with_vae'] / TERA:>10.3f}",
        f"  {'each distinct evaluation':<28}" + "".join(f"{v / TERA:>10.3f}" for v in generation["evaluations"]),
        f"  {'original, padded to ' + str(reference['padded']):<28}{reference['total'] / TERA:>10.3f}"
        f"  ({reference['evaluation'] / TERA:.3f} a denoising step), {found['fewer']:.2f} times the engine's",
        "",
        f"one answer, question of {found['question_tokens']} tokens, TFLOP",
        *(f"  {name:<28}{value / TERA:>10.4f}" for name, value in found["answer"].items()),
    ]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Counts and prints; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cost", description=__doc__)
    parser.add_argument("--size", choices=sorted(MODELS), default="1.5b")
    parser.add_argument("--acceleration", choices=sorted(POLICIES), default="flashu")
    parser.add_argument(
        "--num-inference-steps", type=int, help="of both implementations; by default the model's and the policy's"
    )
    parser.add_argument("--guidance-scale", type=float, default=5.0)
    parser.add_argument("--prompt-tokens", type=int, default=64)
    parser.add_argument("--question-tokens", type=int, default=64)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--save", metavar="NAME", help="also write benchmarks/results/NAME.json")
    options = parser.parse_args(arguments)
    found = measure(
        options.size,
        options.acceleration,
        num_inference_steps=options.num_inference_steps,
        guidance_scale=options.guidance_scale,
        prompt_tokens=options.prompt_tokens,
        question_tokens=options.question_tokens,
    )
    found["machine"] = describe_machine()
    if options.save:
        results.save(options.save, found)
    print(json.dumps(found, indent=2) if options.json else _table(found))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
