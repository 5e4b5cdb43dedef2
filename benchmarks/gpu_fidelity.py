"""Compares half precision with CUDA graphs to float32 on one GPU: `python benchmarks/gpu_fidelity.py [--save NAME]`.

The embedded model generates the same prompts from the same noise in float32 without graphs, and in half precision
without and with graphs; the result is the relative error of the latents. Needs only the engine's dependencies.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

if __package__ in (None, ""):  # run as a file: its folder is on the path instead of the repository
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from flashu_core import Engine, EngineConfig, GenerateRequest, UnderstandRequest
from flashu_core.engine.warmup import GRAPH_ROUNDS
from flashu_core.machine import describe_machine
from flashu_core.timing import Spans
from flashu_core.types import Pixels
from load_tests import results

LIMIT = 5e-2  # of bf16 against float32
PROMPTS = (
    "a red circle",
    "two yellow triangles and a blue square",
    "a green square above a purple circle",
    "three small orange circles on black",
    "a blue triangle left of a red square",
    "a large purple triangle",
    "a yellow circle and a green triangle",
    "four red squares",
)
QUESTIONS = ("how many objects are there?", "what color is the circle?", "is there a square?")


def load(device: str, dtype: str, *, eager: bool) -> Engine:
    """The embedded model."""
    engine = Engine.load(None, EngineConfig(device=device, dtype=dtype, enforce_eager=eager))  # type: ignore[arg-type]
    engine.prepare()
    return engine


def latents(engine: Engine, policy: str, times: int) -> list[Tensor]:
    """Final latents of each prompt, generated alone, of the last of `times` rounds."""
    generate_runner = engine._generate_runner  # noqa: SLF001 - results hold pixels, whose rounding hides what is measured here
    found: list[Tensor] = []
    spans = Spans(torch.device("cpu"))
    for _ in range(times):
        found = []
        for seed, prompt in enumerate(PROMPTS):
            generation = generate_runner.accept(
                GenerateRequest(prompt=prompt, acceleration=policy), request_id=prompt, seed=seed
            )
            generate_runner.read_prompts([generation], spans)
            while generation.state is not None and not generation.state.done:
                generate_runner.evaluate([generation], spans)
            assert generation.state is not None
            found.append(generation.state.latents.float().cpu())
    return found


def answers(engine: Engine, policy: str, pictures: Sequence[Pixels]) -> list[str]:
    """Answers to every question about every image."""
    return [
        engine.understand(UnderstandRequest(question=question, image=image, acceleration=policy)).answer
        for image in pictures
        for question in QUESTIONS
    ]


def errors(found: Sequence[Tensor], wanted: Sequence[Tensor]) -> dict[str, float]:
    """Relative L2 errors over the prompts."""
    each = [float((one - other).norm() / other.norm()) for one, other in zip(found, wanted, strict=True)]
    return {"median": statistics.median(each), "worst": max(each)}


def measure(device: str) -> dict[str, Any]:
    """Measures both policies."""
    torch.backends.cudnn.allow_tf32 = False
    exact = load(device, "float32", eager=True)
    pictures = [
        exact.generate(GenerateRequest(prompt=prompt, seed=seed, acceleration="exact")).images[0]
        for seed, prompt in enumerate(PROMPTS)
    ]
    wanted = {policy: (latents(exact, policy, 1), answers(exact, policy, pictures)) for policy in ("exact", "flashu")}
    found: dict[str, Any] = {"limit": LIMIT, "prompts": len(PROMPTS), "machine": describe_machine(device)}
    for name, eager in (("bfloat16_eager", True), ("bfloat16_graphs", False)):
        engine = load(device, "bfloat16", eager=eager)
        found[name] = {}
        for policy, (generated, said) in wanted.items():
            own = answers(engine, policy, pictures)
            found[name][policy] = {
                "latents": errors(latents(engine, policy, 1 if eager else GRAPH_ROUNDS), generated),
                "same_answers": sum(one == other for one, other in zip(own, said, strict=True)) / len(said),
            }
    found["passed"] = all(one["latents"]["median"] <= LIMIT for one in found["bfloat16_graphs"].values())
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures, prints JSON; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python benchmarks/gpu_fidelity.py", description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--out", type=Path, metavar="FILE", help="also write the JSON there")
    parser.add_argument("--save", metavar="NAME", help="also write benchmarks/results/NAME.json")
    options = parser.parse_args(arguments)
    found = measure(options.device)
    if options.out is not None:
        options.out.write_text(json.dumps(found, indent=2) + "\n")
    if options.save:
        results.save(options.save, found)
    print(json.dumps(found, indent=2))
    return 0 if found["passed"] else 1


if __name__ == "__main__":
    raise SystemExit(main())
