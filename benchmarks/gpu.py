"""Measures one model size on one device: `python benchmarks/gpu.py --size 1.5b --device cuda`.

Random weights, made on the device in bfloat16 (float32 on a CPU without bfloat16 instructions); one image and one
answer, component by component, beside the original's loop, with counted FLOPs, memory and the device's own rates from
the same run. Needs only torch, safetensors, tokenizers, huggingface_hub, numpy and Pillow. Random weights generate
noise, so quality is not measured.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

if __package__ in (None, ""):  # run as a file: its folder is on the path instead of the repository
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import flops, loops
from benchmarks.random_weights import random_module
from flashu_core.acceleration.plan import StepPlan
from flashu_core.acceleration.policies import POLICIES, UnderstandingPolicy
from flashu_core.checkpoint.load import choose_dtype
from flashu_core.config import MODELS, WAN_VAE
from flashu_core.machine import describe_machine
from flashu_core.model import reference
from flashu_core.model.attention import load_kernel
from flashu_core.model.graphed import use_graphs
from flashu_core.model.showo2 import Showo2
from flashu_core.model.vae import Vae
from flashu_core.model.vae import use_graphs as use_vae_graphs
from flashu_core.pathways import understand
from flashu_core.timing import Spans, total_milliseconds
from load_tests import results

CACHE_BYTES = 4 * 2**30


class Stopwatch:
    """Milliseconds of work on a device, synchronised before and after."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def wait(self) -> None:
        """Synchronises the device."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)

    def milliseconds(self, work: Callable[[], object]) -> float:
        """Milliseconds of a call, its work on the device included."""
        self.wait()
        begun = time.perf_counter()
        work()
        self.wait()
        return (time.perf_counter() - begun) * 1000

    def median(self, work: Callable[[], object], runs: int) -> float:
        """The median of `runs` calls after one uncounted call."""
        work()
        return statistics.median(self.milliseconds(work) for _ in range(runs))


class Memory:
    """Bytes in use: by torch's allocator on a GPU, by the process on a CPU (whose peak is never reset)."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def allocated(self) -> int | None:
        """Bytes of tensors now; None on a CPU."""
        return torch.cuda.memory_allocated(self._device) if self._device.type == "cuda" else None

    def take_peak(self) -> int:
        """Peak bytes since the last call."""
        if self._device.type != "cuda":
            return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        peak = torch.cuda.max_memory_allocated(self._device)
        torch.cuda.reset_peak_memory_stats(self._device)
        return peak


def _medians(samples: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {name: statistics.median(sample[name] for sample in samples) for name in samples[0]}


def generation_times(
    model: Showo2, watch: Stopwatch, memory: Memory, costliest: StepPlan, options: argparse.Namespace
) -> dict[str, Any]:
    """An image without the autoencoder: the engine and the original's loop, alternating.

    `costliest` is the plan whose denoising steps `evaluation_ms` is of: with techniques the others leave something out.
    """
    generation = loops.example_generation(
        model,
        prompt_tokens=options.prompt_tokens,
        num_inference_steps=options.num_inference_steps,
        guidance_scale=options.guidance_scale,
        images=options.batch,
    )
    padded = flops.padded_length(model.config, options.prompt_tokens)
    policy, exact = POLICIES[options.acceleration].generate, POLICIES["exact"].generate

    def generate_original() -> None:
        loops.generate_original(model, generation, padded=padded)

    memory.take_peak()
    for _ in range(max(options.warm_up, 1)):
        loops.run_pathway(model, generation, policy, Spans(model.device))
    watch.wait()
    peak = memory.take_peak()
    if options.reference_runs:
        generate_original()
    totals: list[float] = []
    originals: list[float] = []
    exacts: list[float] = []
    components: list[dict[str, float]] = []
    steps: list[float] = []
    reused: list[float] = []
    for run in range(options.runs):
        prefix = Spans(model.device)
        watch.wait()
        begun = time.perf_counter()
        state = loops.run_pathway(model, generation, policy, prefix)
        watch.wait()
        totals.append((time.perf_counter() - begun) * 1000)
        components.append(total_milliseconds([prefix, *state.spans]))
        steps += [
            sum(total_milliseconds([spans]).values())
            for plan, spans in zip(state.schedule, state.spans, strict=True)
            if plan == costliest
        ]
        reused += [
            sum(total_milliseconds([spans]).values())
            for plan, spans in zip(state.schedule, state.spans, strict=True)
            if plan.head == "reuse"
        ]
        if policy != exact:
            exacts.append(watch.milliseconds(lambda: loops.run_pathway(model, generation, exact, Spans(model.device))))
        if run < options.reference_runs:
            originals.append(watch.milliseconds(generate_original))
    total = statistics.median(totals)
    original = statistics.median(originals) if originals else None
    plain = statistics.median(exacts) if exacts else None
    return {
        "total_ms": total,
        "components_ms": _medians(components),
        "evaluation_ms": statistics.median(steps),
        "reusing_evaluation_ms": statistics.median(reused) if reused else None,
        "reference_ms": original,
        "speedup": original / total if original is not None else None,
        "exact_ms": plain,
        "speedup_over_exact": plain / total if plain is not None else None,
        "peak_bytes": peak,
        "reference_peak_bytes": memory.take_peak(),
        "runs_ms": totals,
        "reference_runs_ms": originals,
    }


def answer_times(model: Showo2, vae: Vae, watch: Stopwatch, options: argparse.Namespace) -> dict[str, Any]:
    """Time to an answer's first token, autoencoder included, and per token after it."""
    question = loops.example_question(model, question_tokens=options.question_tokens)
    system, policy = loops.read_system(model, question), POLICIES[options.acceleration].vqa
    pixels = torch.zeros(
        1, 3, *(side * WAN_VAE.compression for side in question.latents.shape[-2:]), device=model.device
    )
    samples: list[dict[str, float]] = []
    tokens: list[float] = []
    for run in range(options.warm_up + options.runs):
        spans = Spans(model.device)
        first = Spans(torch.device("cpu"))
        watch.wait()
        with first.span("first_token_ms"):
            with spans.span("vae_encode"):
                vae.encode(pixels)
            state = loops.begin_answer(model, question, system, policy, tokens=options.tokens, spans=spans)
            watch.wait()
        later: list[float] = []
        while not state.done:
            later.append(watch.milliseconds(lambda: understand.advance(model, [state], Spans(model.device))))  # noqa: B023
        if run >= options.warm_up:
            parts = {f"{name}_ms": value for name, value in total_milliseconds([spans]).items()}
            samples.append({**total_milliseconds([first]), **parts})
            tokens.extend(later)
    together = batch_token(model, question, system, policy, watch, options)
    alone = statistics.median(tokens) if tokens else None
    return {
        **_medians(samples),
        "token_ms": alone,
        "answers_together": options.answers,
        "token_together_ms": together,
        "tokens_per_second_gain": options.answers * alone / together if alone is not None else None,
        "reference_token_ms": reference_token(model, question, watch, min(options.runs, 5)),
    }


def batch_token(
    model: Showo2,
    question: loops.Question,
    system: understand.System,
    policy: UnderstandingPolicy,
    watch: Stopwatch,
    options: argparse.Namespace,
) -> float:
    """Milliseconds of one token of several answers in a batch."""
    tokens = min(options.runs, 10) + 2
    states = [
        loops.begin_answer(model, question, system, policy, tokens=tokens, spans=Spans(model.device))
        for _ in range(options.answers)
    ]
    later = []
    while not states[0].done:
        later.append(watch.milliseconds(lambda: understand.advance(model, states, Spans(model.device))))
    return statistics.median(later)


def decode_3d(vae: Vae, latents: Tensor) -> Tensor:
    """The published autoencoder for one frame: every 3x3 convolution also over time, after two frames of zeros. The
    weights' other taps only see zeros, so they are zeros here."""
    original = nn.Conv2d.forward

    def forward(self: nn.Conv2d, x: Tensor) -> Tensor:
        if self.kernel_size != (3, 3) or self.stride != (1, 1):
            return original(self, x)
        weight = functional.pad(self.weight[:, :, None], (0, 0, 0, 0, 2, 0))
        frames = functional.pad(x[:, :, None], (0, 0, 0, 0, 2, 0))
        return functional.conv3d(frames, weight, self.bias, padding=(0, 1, 1))[:, :, 0]

    graphs, vae.graphs = vae.graphs, None
    nn.Conv2d.forward = forward  # type: ignore[assignment, method-assign]
    try:
        return vae.decode(latents)
    finally:
        nn.Conv2d.forward = original  # type: ignore[method-assign]
        vae.graphs = graphs


def reference_token(model: Showo2, question: loops.Question, watch: Stopwatch, runs: int) -> float:
    """One token of the original, which runs the whole sequence again; in the weights' dtype (the original: float32)."""
    config = model.config
    rows, columns = config.grids[0]
    block = rows * columns + config.block_extra
    length = len(question.before) + block + len(question.after)
    embeddings = torch.zeros(1, length, config.backbone.hidden_size, dtype=model.dtype, device=model.device)
    return watch.median(lambda: reference.answer_logits(model, embeddings, (len(question.before), block)), runs)


def device_rates(device: torch.device, dtype: torch.dtype, watch: Stopwatch, runs: int) -> dict[str, float]:
    """Rates of the device: a large matrix product of that dtype, and a copy (bytes read plus bytes written)."""
    side, values = (8192, 1 << 29) if device.type == "cuda" else (512, 1 << 22)
    left, right = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    product = torch.empty_like(left)
    matrix = watch.median(lambda: torch.matmul(left, right, out=product), runs)
    source = torch.zeros(values, dtype=dtype, device=device)
    target = torch.empty_like(source)
    copy = watch.median(lambda: target.copy_(source), runs)
    return {
        "matrix_side": side,
        "matrix_tflops": 2 * side**3 / matrix / 1e9,
        "copy_gigabytes_per_s": 2 * source.numel() * source.element_size() / copy / 1e6,
    }


def _counted(options: argparse.Namespace) -> tuple[dict[str, Any], StepPlan]:
    """FLOPs, and the plan whose denoising step costs most."""
    config, policy = MODELS[options.size], POLICIES[options.acceleration].generate
    cost = flops.generation_cost(
        config,
        policy,
        num_inference_steps=loops.policy_steps(policy, options.num_inference_steps),
        guidance_scale=options.guidance_scale,
        prompt_tokens=options.prompt_tokens,
        images=options.batch,
    )
    original = options.batch * flops.reference_step_cost(config, prompt_tokens=options.prompt_tokens)
    costliest = max(cost.step, key=lambda plan: cost.step[plan])
    counted = {
        "parts": {**cost.parts, "vae_decode": cost.vae_decode},
        "total": cost.denoising,
        "evaluation": cost.step[costliest],
        "reference_total": original * (options.num_inference_steps - 1),
    }
    return counted, costliest


@torch.inference_mode()
def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Builds the model and measures everything."""
    device = torch.device(options.device)
    dtype = choose_dtype("auto", device)
    config, kernel = MODELS[options.size], load_kernel(options.attention)
    watch, memory = Stopwatch(device), Memory(device)
    counted, costliest = _counted(options)
    rates = device_rates(device, dtype, watch, options.runs)

    model = random_module(lambda: Showo2(config, kernel), dtype=dtype, device=device)
    vae = random_module(lambda: Vae(WAN_VAE), dtype=dtype, device=device)
    if not options.enforce_eager:
        use_graphs(model, CACHE_BYTES)
        use_vae_graphs(vae)
    weights = sum(p.numel() * p.element_size() for module in (model, vae) for p in module.parameters())
    loaded = memory.allocated()
    generation = generation_times(model, watch, memory, costliest, options)
    latents = torch.randn(loops.latent_shape(config, options.batch), device=device)
    generation["vae_decode_3d_ms"] = watch.median(lambda: decode_3d(vae, latents), min(options.runs, 5))
    generation["vae_decode_ms"] = watch.median(lambda: vae.decode(latents), options.runs)
    generation["total_with_vae_ms"] = generation["total_ms"] + generation["vae_decode_ms"]
    vae_peak = memory.take_peak()
    answer = answer_times(model, vae, watch, options)
    reached = counted["evaluation"] / generation["evaluation_ms"] / 1e9
    return {
        "size": options.size,
        "policy": options.acceleration,
        "batch": options.batch,
        "points": options.num_inference_steps,
        "guidance": options.guidance_scale,
        "prompt_tokens": options.prompt_tokens,
        "question_tokens": options.question_tokens,
        "tokens": options.tokens,
        "runs": options.runs,
        "dtype": str(dtype).removeprefix("torch."),
        "attention": options.attention,
        "enforce_eager": options.enforce_eager,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "generation": generation,
        "answer": answer,
        "memory": {
            "weights_bytes": weights,
            "allocated_bytes": loaded,
            "generation_peak_bytes": generation.pop("peak_bytes"),
            "reference_peak_bytes": generation.pop("reference_peak_bytes"),
            "vae_decode_peak_bytes": vae_peak,
            "answer_peak_bytes": memory.take_peak(),
        },
        "flops": counted,
        "step_tflops": reached,
        "share_of_matrix_rate": reached / rates["matrix_tflops"],
        "rates": rates,
        "machine": describe_machine(device),
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python benchmarks/gpu.py", description=__doc__)
    parser.add_argument("--size", choices=sorted(MODELS), default="1.5b")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--acceleration", choices=sorted(POLICIES), default="flashu")
    parser.add_argument("--attention", choices=("sdpa", "flash-attn"), default="sdpa")
    parser.add_argument("--enforce-eager", action="store_true", help="no CUDA graphs and no fused kernels")
    parser.add_argument("--batch", type=int, default=1, help="images in a batch")
    parser.add_argument("--answers", type=int, default=16, help="answers in a batch")
    parser.add_argument("--num-inference-steps", type=int, default=50)
    parser.add_argument("--guidance-scale", type=float, default=5.0)
    parser.add_argument("--prompt-tokens", type=int, default=64)
    parser.add_argument("--question-tokens", type=int, default=64)
    parser.add_argument("--tokens", type=int, default=64, help="length of an answer")
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--warm-up", type=int, default=3, help="uncounted runs; graphs are captured in the second")
    parser.add_argument(
        "--reference-runs", type=int, default=5, help="runs of the original's loop, alternating with the engine's"
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="also write the JSON there")
    parser.add_argument("--save", metavar="NAME", help="also write benchmarks/results/NAME.json")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures, prints JSON; returns the exit status."""
    options = _parser().parse_args(arguments)
    found = measure(options)
    if options.out is not None:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(found, indent=2) + "\n")
    if options.save:
        results.save(options.save, found)
    print(json.dumps(found, indent=2))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
