"""Counts FLOPs of the real modules with torch's counter, on the meta device: what the formulas are held to.

A multiply-add counts as two. Matrix products, convolutions and attention are counted; norms, activations and other
elementwise operations are not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.flops import ANSWER_TOKENS, SYSTEM_TOKENS, padded_length
from benchmarks.loops import latent_shape, pruned_path
from benchmarks.random_weights import on_meta
from flashu_core.acceleration.flops import UNCOND_TOKENS
from flashu_core.acceleration.neurons import FULL
from flashu_core.acceleration.plan import StepPlan, make_answer_schedule, make_schedule
from flashu_core.acceleration.policies import GenerationPolicy, UnderstandingPolicy
from flashu_core.config import WAN_VAE, ModelConfig
from flashu_core.model import reference, sampler
from flashu_core.model.showo2 import Showo2
from flashu_core.model.vae import Vae
from flashu_core.pathways import generate, understand
from flashu_core.timing import Spans


class _Zeros(TorchDispatchMode):
    """Reads every number as 0: a sampled token must have some value, and here no tensor has any."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func is torch.ops.aten._local_scalar_dense.default and args[0].is_meta:
            return 0
        target = (kwargs or {}).get("device")
        copied = func is torch.ops.aten._to_copy.default and args[0].is_meta
        if copied and target is not None and torch.device(target).type == "cpu":
            return torch.zeros(args[0].shape, dtype=args[0].dtype)
        return func(*args, **(kwargs or {}))


class CountingSpans(Spans):
    """Spans that count FLOPs instead of time."""

    __slots__ = ("_counter", "flops")

    def __init__(self, counter: FlopCounterMode) -> None:
        super().__init__(torch.device("cpu"))
        self._counter = counter
        self.flops: dict[str, int] = {}

    @contextmanager
    def span(self, name: str) -> Iterator[None]:
        """Counts the `with` block under that name."""
        before = self._counter.get_total_flops()
        yield
        self.flops[name] = self.flops.get(name, 0) + self._counter.get_total_flops() - before


@contextmanager
def counting() -> Iterator[CountingSpans]:
    """Counts FLOPs of the `with` block, on the meta device."""
    counter = FlopCounterMode(display=False)
    # Fused attention has no FLOP formula on some devices and versions; as two matrix products it counts the same.
    with _Zeros(), sdpa_kernel(SDPBackend.MATH), counter, torch.inference_mode():
        yield CountingSpans(counter)


def count(work: Callable[[], object]) -> int:
    """FLOPs of a call."""
    with counting() as spans, spans.span("all"):
        work()
    return spans.flops["all"]


def meta_model(config: ModelConfig) -> Showo2:
    """A Show-o2 on the meta device."""
    return on_meta(lambda: Showo2(config), torch.bfloat16)


def generation_cost(
    config: ModelConfig,
    policy: GenerationPolicy,
    *,
    num_inference_steps: int,
    guidance_scale: float,
    prompt_tokens: int,
    images: int = 1,
) -> dict[str, int]:
    """FLOPs by span, as of `benchmarks.flops.generation_cost`."""
    model = meta_model(config)
    latents = torch.empty(latent_shape(config, images), device="meta")
    with counting() as spans, spans.span("prefix"):
        text, uncond = generate.Prompt([0] * prompt_tokens), generate.Prompt([0] * UNCOND_TOKENS)
        state = generate.begin(
            model,
            cond=text,
            uncond=uncond,
            noise=latents,
            schedule=make_schedule(
                policy.techniques, num_inference_steps=num_inference_steps, guidance_scale=guidance_scale
            ),
            times=sampler.time_grid(num_inference_steps, config.time_shift),
            pruned=pruned_path(config, policy.ffn_ratio),
        )
    parts = dict(spans.flops)
    known: dict[tuple[StepPlan, tuple[str, frozenset[int]], frozenset[int]], Mapping[str, int]] = {}
    while not state.done:
        plan = state.plan
        key = (plan, state.cond.loaded, state.skipped_layers)
        if key in known and state.cond.loaded == (state.path.name, state.skipped_layers):
            state.step += 1  # the same plan on the same path costs the same: counted, not run again
        else:
            with counting() as spans:
                generate.advance(model, [state], spans)
            known[key] = spans.flops
            if plan.measure:
                # Numbers have no values here, so any layers serve: which ones are skipped does not change the count.
                state.skipped = plan.measure.observe([0.0] * config.backbone.layers)
        for name, flops in known[key].items():
            parts[name] = parts.get(name, 0) + flops
    return parts


def reference_step_cost(config: ModelConfig, *, prompt_tokens: int, images: int = 1) -> int:
    """One denoising step the original's way: both branches whole, padded, picture embedded twice, logits for all."""
    model = meta_model(config)
    length = padded_length(config, prompt_tokens)
    ids = torch.zeros(2 * images, length, dtype=torch.long, device="meta")
    latents = torch.empty(latent_shape(config, 2 * images), device="meta")
    offsets = [prompt_tokens] * images + [UNCOND_TOKENS] * images
    times = torch.empty(2 * images, device="meta")
    return count(lambda: reference.velocities(model, ids, offsets, latents, times, with_logits=True))


def vae_decode_cost(config: ModelConfig, images: int = 1) -> int:
    """Latents to pixels, with Wan 2.1's autoencoder."""
    vae = _meta_vae()
    latents = torch.empty(latent_shape(config, images), device="meta")
    return count(lambda: vae.decode(latents))


def vae_encode_cost(config: ModelConfig) -> int:
    """Pixels to latents, with Wan 2.1's autoencoder."""
    _, _, height, width = latent_shape(config, 1)
    pixels = torch.empty(1, 3, height * WAN_VAE.compression, width * WAN_VAE.compression, device="meta")
    vae = _meta_vae()
    return count(lambda: vae.encode(pixels))


def _meta_vae() -> Vae:
    return on_meta(lambda: Vae(WAN_VAE), torch.bfloat16)


def answer_cost(config: ModelConfig, policy: UnderstandingPolicy, *, question_tokens: int) -> dict[str, int]:
    """FLOPs by part, as of `benchmarks.flops.answer_cost` without the autoencoder, and `reference_token`."""
    model = meta_model(config)
    _, channels, height, width = latent_shape(config, 1)
    with counting() as spans:
        with spans.span("system"):
            system = understand.System([0] * SYSTEM_TOKENS)
            pruned = pruned_path(config, policy.ffn_ratio)
            schedule = make_answer_schedule(policy.techniques, tokens=ANSWER_TOKENS)
            system.read(model, pruned if schedule[0].ffn == "pruned" else FULL)
        state = understand.begin(
            model,
            system=system,
            latents=torch.empty(1, channels, height, width, device="meta"),
            suffix=[0] * question_tokens,
            decoding=understand.Decoding(eos=-1, max_new_tokens=ANSWER_TOKENS),
            generator=torch.Generator(),
            spans=spans,
            schedule=schedule,
            pruned=pruned,
        )
        if (observer := schedule[0].measure) is not None:
            state.skipped = observer.observe([0.0] * config.backbone.layers)
        understand.advance(model, [state], spans)
    parts = dict(spans.flops)
    parts["token"] = parts.pop("decode")
    return {**parts, "reference_token": _reference_token(model, question_tokens)}


def _reference_token(model: Showo2, question_tokens: int) -> int:
    config = model.config
    rows, columns = config.grids[0]
    block = rows * columns + config.block_extra
    length = SYSTEM_TOKENS + block + question_tokens

    def token() -> Tensor:
        embeddings = torch.empty(1, length, config.backbone.hidden_size, dtype=torch.bfloat16, device="meta")
        return reference.answer_logits(model, embeddings, (SYSTEM_TOKENS + config.block_extra, block))

    return count(token)
