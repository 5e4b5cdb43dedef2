"""Compares the engine with golden data: `python -m benchmarks.parity DIR...`.

Runs the engine's own passes (prompt, denoising steps, prefill, decoding, autoencoder) in float32 and reports the
largest absolute difference of every expected tensor. Exits with 1 if one is above the limit and with 2 if a folder
cannot be read; lists what it does not check.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from benchmarks import golden
from benchmarks.golden import GoldenError, ModelCase, Reading, VaeCase
from flashu_core.acceleration.calibration import activation_norms, importances
from flashu_core.acceleration.neurons import NeuronPath, kept
from flashu_core.acceleration.plan import Schedule, StepPlan, make_schedule
from flashu_core.acceleration.policies import GenerationPolicy
from flashu_core.machine import describe_machine
from flashu_core.model import reference, sampler
from flashu_core.model.showo2 import Showo2
from flashu_core.pathways import generate, understand
from flashu_core.timing import Spans
from load_tests import results

LIMIT = 1e-4
# The guidance each of the golden runs was made with; their names hold the points of their grids.
GUIDANCE = {"sample50": 5.0, "sample8": 7.5}
NO_TOKEN = -1  # as end token: decoding runs to its length


@dataclass(slots=True)
class Report:
    """Results of one folder's checks; `used` are the expected tensors that a check has read."""

    expected: dict[str, Tensor]
    differences: list[tuple[str, float]] = field(default_factory=list)
    used: set[str] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)

    def has(self, name: str) -> bool:
        """Whether the folder has that tensor."""
        return name in self.expected

    def take(self, name: str) -> Tensor:
        """A tensor that a check starts from."""
        if name not in self.expected:
            raise GoldenError(f"there is no {name!r} to compute from")
        self.used.add(name)
        return self.expected[name]

    def compare(self, name: str, found: Tensor, label: str | None = None) -> None:
        """Records the difference from an expected tensor; for integers the number that differ."""
        self.differences.append((label or name, difference(found, self.take(name))))


def difference(found: Tensor, expected: Tensor) -> float:
    """The largest absolute difference, or the number of differing integers; infinite if shapes or NaNs differ."""
    if found.shape != expected.shape:
        return math.inf
    if not expected.is_floating_point():
        return float((found != expected).sum())
    largest = (found.double() - expected.double()).abs().max().item() if expected.numel() else 0.0
    return math.inf if math.isnan(largest) else float(largest)


def check(case: ModelCase | VaeCase) -> Report:
    """Runs every check that the folder has tensors for.

    Raises:
        GoldenError: there is none, or an input tensor is missing.
    """
    report = Report(dict(case.expected))
    if isinstance(case, VaeCase):
        _autoencoder(case, report)
    else:
        _forward(case, report)
        _samples(case, report)
        _flashu(case, report)
        for name in ("vqa", "vqa_trained_block"):
            _reading(case, name, report)
    if not report.differences:
        raise GoldenError(f"{case.path / golden.EXPECTED} holds nothing that is checked")
    return report


def _spans() -> Spans:
    return Spans(torch.device("cpu"))


def _branches(case: ModelCase) -> tuple[list[generate.Prompt], generate.Prompt]:
    return [generate.Prompt(ids) for ids in case.prompts], generate.Prompt(case.uncond)


def _forward(case: ModelCase, report: Report) -> None:
    if not report.has("forward.velocity"):
        return
    noise, times = report.take("forward.noise"), report.take("forward.t")
    texts, uncond = _branches(case)
    count = len(texts)
    if times.shape != (2 * count,):
        raise GoldenError(f"forward.t is {list(times.shape)}; {count} prompts need [{2 * count}]")
    # One Euler step of length 1 from zero guidance (null alone) or full (text alone) adds just that branch's velocity.
    batch = [
        generate.begin(
            case.model,
            cond=texts[row % count],
            uncond=uncond,
            noise=noise[row % count][None],
            schedule=Schedule([StepPlan(guidance_scale=1.0 if row < count else 0.0)]),
            times=torch.stack([time.double(), time.double() + 1]),
        )
        for row, time in enumerate(times)
    ]
    before = torch.cat([generation.latents for generation in batch])
    generate.advance(case.model, batch, _spans())
    report.compare("forward.velocity", torch.cat([generation.latents for generation in batch]) - before)
    report.compare("forward.velocity", _reference(case, noise, times), "forward.velocity (reference)")


@torch.inference_mode()
def _reference(case: ModelCase, noise: Tensor, times: Tensor) -> Tensor:
    patch = case.config.patch_size
    block = (noise.shape[-2] // patch) * (noise.shape[-1] // patch) + case.config.block_extra
    rows = [*case.prompts, *[case.uncond] * len(case.prompts)]
    length = max(len(row) for row in rows) + block + 2
    ids = [[*row, *[case.image_pad] * block, *[case.pad] * (length - block - len(row))] for row in rows]
    latents = torch.cat([noise, noise])
    return reference.velocities(case.model, torch.tensor(ids), [len(row) for row in rows], latents, times)


def _samples(case: ModelCase, report: Report) -> None:
    for name, guidance_scale in GUIDANCE.items():
        num_inference_steps = int(name.removeprefix("sample"))
        times = sampler.time_grid(num_inference_steps, case.config.time_shift)
        if report.has(f"{name}.t"):
            report.compare(f"{name}.t", times)
        if not report.has(f"{name}.latents"):
            continue
        noise = report.take("forward.noise")
        texts, uncond = _branches(case)
        schedule = make_schedule((), num_inference_steps=num_inference_steps, guidance_scale=guidance_scale)
        batch = [
            generate.begin(case.model, cond=text, uncond=uncond, noise=latents[None], schedule=schedule, times=times)
            for text, latents in zip(texts, noise, strict=True)
        ]
        while not batch[0].done:
            generate.advance(case.model, batch, _spans())
        report.compare(f"{name}.latents", torch.cat([generation.latents for generation in batch]))


@torch.inference_mode()
def _scores(case: ModelCase) -> Tensor:
    """Importances over the batch the original calibrated with: prompt 0 twice, as whole padded sequences whose image
    positions hold the image's padding token."""
    first, config = case.prompts[0], case.config
    rows, columns = config.grids[0]
    block = rows * columns + config.block_extra
    ids = [*first, *[case.image_pad] * block, int(case.meta["ids"]["eoi"]), int(case.meta["ids"]["eos"])]
    whole = torch.tensor([ids + [case.pad] * (int(case.meta["seq_len"]) - len(ids))] * 2)
    mask = reference.omni_mask(whole.shape[1], [(len(first), block)] * 2, whole.device)
    positions = torch.arange(whole.shape[1]).expand(whole.shape)
    with activation_norms(case.model) as norms:
        reference.hidden_states(case.model, case.model.backbone.embed_tokens(whole), mask, positions)
        return importances(case.model, norms())


def _flashu(case: ModelCase, report: Report) -> None:
    """Importances, the neurons they keep, and the original's accelerated run with its lists of skipped layers."""
    layers = case.config.backbone.layers
    if "flashu" not in case.meta or not any(name.startswith(("wanda.", "flashu.")) for name in case.expected):
        return
    with golden.explained(case.path):
        run = case.meta["flashu"]
        settings, num_inference_steps = run["config"], int(run["steps"])
        (_, low), (last, base) = settings["guidance"]
        forced = {int(step): frozenset(skipped) for step, skipped in run["recalculated"]}
        policy = GenerationPolicy(
            ffn_ratio=float(settings["r_p"]),
            hybrid_threshold=int(settings["tau_steps"]) / num_inference_steps,
            skip_ratio=float(settings["r_LS"]),
            skip_interval=int(settings["T_LS"]),
            low_guidance=low / base,
            guidance_threshold=last / num_inference_steps,
            head_interval=int(settings["T_cache"]),
        )
        scores = _scores(case)
    chosen = [kept(row, policy.ffn_ratio) for row in scores]
    for layer in range(layers):
        if report.has(name := f"wanda.model.layers.{layer}.mlp.down_proj"):
            report.compare(name, scores[layer])
        if report.has(name := f"wanda.keep.{layer}"):
            report.compare(name, chosen[layer].to(report.take(name).dtype))
    if not report.has("flashu.latents"):
        return
    state = generate.begin(
        case.model,
        cond=generate.Prompt(case.prompts[0]),
        uncond=generate.Prompt(case.uncond),
        noise=report.take("forward.noise")[:1],
        schedule=make_schedule(policy.techniques, num_inference_steps=num_inference_steps, guidance_scale=base),
        times=sampler.time_grid(num_inference_steps, case.config.time_shift),
        pruned=NeuronPath("pruned", chosen),
    )
    velocities = []
    while not state.done:
        generate.advance(case.model, [state], _spans())
        state.skipped = forced.get(state.step, state.skipped)
        assert state.velocity is not None
        velocities.append(state.velocity[0])
    if report.has("flashu.velocities"):
        report.compare("flashu.velocities", torch.stack(velocities))
    report.compare("flashu.latents", state.latents)
    passes = state.counts["backbone_full"] + state.counts["backbone_pruned"]
    report.notes.append(
        f"flashu: {passes} backbone passes and {state.counts['head_computed']} head passes in {state.step} steps"
    )


def _reading(case: ModelCase, name: str, report: Report) -> None:
    parts = ("image_embeds", "first_logits", "forced_logits", "tokens")
    if not any(report.has(f"{name}.{part}") for part in parts):
        return

    def source(part: str) -> Tensor:
        # Both runs read the same picture and are forced to the same tokens, stored once.
        return report.take(f"{name}.{part}" if report.has(f"{name}.{part}") else f"vqa.{part}")

    latents, reading = source("latents"), case.reading(name)
    model = case.with_block(reading.block)
    if report.has(f"{name}.image_embeds"):
        with torch.inference_mode():
            report.compare(f"{name}.image_embeds", model.vision(latents))
    if report.has(f"{name}.first_logits"):
        report.compare(f"{name}.first_logits", _begin(model, reading, latents, 1).logits)
    if report.has(f"{name}.forced_logits"):
        report.compare(f"{name}.forced_logits", _forced(model, reading, latents, source("forced_tokens")))
    if report.has(f"{name}.tokens"):
        expected = report.take(f"{name}.tokens")
        state = _begin(model, reading, latents, expected.numel())
        while not state.done:
            understand.advance(model, [state], _spans())
        report.compare(f"{name}.tokens", torch.tensor(state.tokens, dtype=expected.dtype))


def _begin(model: Showo2, reading: Reading, latents: Tensor, tokens: int) -> understand.Understanding:
    return understand.begin(
        model,
        system=understand.System(reading.before),
        latents=latents,
        suffix=reading.after,
        decoding=understand.Decoding(eos=NO_TOKEN, max_new_tokens=tokens),
        generator=torch.Generator(),
        spans=_spans(),
    )


def _forced(model: Showo2, reading: Reading, latents: Tensor, tokens: Tensor) -> Tensor:
    state = _begin(model, reading, latents, tokens.numel() + 1)
    logits = [state.logits]
    for token in tokens.tolist():
        state.tokens[-1] = token  # instead of the one the engine drew
        understand.advance(model, [state], _spans())
        logits.append(state.logits)
    return torch.stack(logits)


@torch.inference_mode()
def _autoencoder(case: VaeCase, report: Report) -> None:
    vae = case.vae
    computed: dict[str, tuple[str, Callable[[Tensor], Tensor]]] = {
        "latents_mean": ("image", vae.encode),
        "latents_logvar": ("image", lambda pixels: vae.posterior(pixels)[1]),
        "decoded": ("latents", vae.decode),
    }
    for name, (source, compute) in computed.items():
        if report.has(name):
            report.compare(name, compute(report.take(source)))


def on_device(case: ModelCase | VaeCase, device: torch.device) -> ModelCase | VaeCase:
    """Moves a case and its expected tensors to a device."""
    module = case.vae if isinstance(case, VaeCase) else case.model
    module.to(device)
    return replace(case, expected={name: tensor.to(device) for name, tensor in case.expected.items()})


def _lines(path: Path, report: Report, limit: float) -> Iterator[str]:
    yield str(path)
    for name, found in report.differences:
        yield f"  {name:<36} {found:>10.2e}  {'ok' if found <= limit else 'FAILED'}"
    yield from (f"  {note}" for note in report.notes)
    if left := list(golden.unused(report.expected, report.used)):
        yield f"  not checked: {', '.join(left)}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Checks every folder; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.parity", description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path, metavar="DIR", help="has a meta.json, or folders that have")
    parser.add_argument("--save", metavar="NAME", help="also write benchmarks/results/NAME.json")
    parser.add_argument("--device", default="cpu", help="device of the engine; float32 without TF32")
    parser.add_argument("--limit", type=float, default=LIMIT, help="maximum difference")
    options = parser.parse_args(arguments)
    torch.set_default_device(options.device)
    torch.backends.cudnn.allow_tf32 = False
    found: dict[str, dict[str, float | None]] = {}
    unreadable = 0
    for folder in options.folders:
        try:
            paths = golden.find(folder)
        except GoldenError as error:
            paths, unreadable = [], unreadable + 1
            print(f"cannot be read: {error}")
        for path in paths:
            try:
                report = check(on_device(golden.read(path), torch.device(options.device)))
            except GoldenError as error:
                unreadable += 1
                print(f"cannot be read: {error}")
                continue
            print("\n".join(_lines(path, report, options.limit)))
            # JSON has no infinity.
            found[str(path)] = {name: x if math.isfinite(x) else None for name, x in report.differences}
    values = [math.inf if value is None else value for tensors in found.values() for value in tensors.values()]
    worst = max(values, default=math.inf)
    passed = not unreadable and worst <= options.limit
    summary = {"worst": worst if math.isfinite(worst) else None, "tensors": len(values), "passed": passed}
    if options.save:
        results.save(
            options.save,
            {**summary, "differences": found, "limit": options.limit, "machine": describe_machine(options.device)},
        )
    print(json.dumps(summary))
    return 2 if unreadable else int(not passed)


if __name__ == "__main__":
    raise SystemExit(main())
