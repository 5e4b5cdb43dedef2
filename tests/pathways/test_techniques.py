"""The pathways with techniques on: against the slow reference, alone and in mixed batches."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from flashu_core.acceleration.neurons import NeuronPath
from flashu_core.acceleration.plan import Schedule, make_answer_schedule, make_schedule
from flashu_core.acceleration.policies import POLICIES, GenerationPolicy, UnderstandingPolicy
from flashu_core.acceleration.techniques.layer_skipping import LayerSkipping
from flashu_core.checkpoint.load import Checkpoint
from flashu_core.model import reference
from flashu_core.model.attention import rotary
from flashu_core.model.sampler import noise, time_grid
from flashu_core.model.showo2 import Showo2
from flashu_core.pathways import generate, understand
from flashu_core.timing import Spans

CPU = torch.device("cpu")
SHAPE = (1, 16, 8, 8)
PROMPTS = ([1, 40, 41, 3], [1, 50, 51, 52, 53, 54, 55, 3], [1, 60, 3])
UNCOND, SYSTEM, SUFFIX = [1, 3], [1, 60, 61, 62, 3], [4, 70, 71, 72]
LATENTS = noise(5, SHAPE)
FLASHU = POLICIES["flashu"]


def pruned(model: Showo2, ratio: float = 0.25) -> NeuronPath:
    count = int(model.config.backbone.ffn_size * (1 - ratio))
    return NeuronPath("pruned", [slice(0, count)] * model.config.backbone.layers)


def start(
    model: Showo2, prompt: int, policy: GenerationPolicy = FLASHU.generate, num_inference_steps: int = 16
) -> generate.Generation:
    return generate.begin(
        model,
        cond=generate.Prompt(PROMPTS[prompt]),
        uncond=generate.Prompt(UNCOND),
        noise=noise(prompt, SHAPE),
        schedule=make_schedule(policy.techniques, num_inference_steps=num_inference_steps, guidance_scale=4.0),
        times=time_grid(num_inference_steps, 3.0),
        pruned=pruned(model),
    )


def step(model: Showo2, *batch: generate.Generation) -> None:
    generate.advance(model, batch, Spans(CPU))


def test_a_shared_pass_changes_no_result(tiny: Checkpoint) -> None:
    """Requests that agree on what to run share a pass, and each gets the result it gets alone."""
    model = tiny.model
    # Lists of different lengths: some layers run for some rows only.
    policies = [replace(FLASHU.generate, skip_ratio=ratio) for ratio in (0.25, 0.5, 0.75)]
    expected = []
    for prompt in range(3):
        alone = start(model, prompt, policies[prompt])
        while not alone.done:
            step(model, alone)
        expected.append(alone)
    states = [start(model, prompt, policy) for prompt, policy in enumerate(policies)]
    step(model, states[0])
    step(model, states[0])
    step(model, states[1])
    shared = 0
    while waiting := [state for state in states if not state.done]:
        batch = max(([s for s in waiting if s.work == state.work] for state in waiting), key=len)
        shared += len(batch) > 1 and len({state.step for state in batch}) > 1
        step(model, *batch)
    assert shared > 5
    assert [len(state.skipped) for state in states] == [1, 2, 3]
    for state, alone in zip(states, expected, strict=True):
        assert (state.latents - alone.latents).abs().max() < 1e-5
        assert state.skipped == alone.skipped
        assert state.counts == alone.counts
        assert state.ran == alone.ran


def test_the_record_of_a_step_matches_the_passes_that_ran(tiny: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compares each step's record with the passes of the model, including passes that measure."""
    model, passes_seen = tiny.model, []
    run_backbone, run_head = model.run_backbone, model.run_head

    def backbone(*inputs: Any, **options: Any) -> Any:
        passes_seen.append(("backbone", options["options"]))
        return run_backbone(*inputs, **options)

    def head(*inputs: Any, **options: Any) -> Any:
        passes_seen.append(("head", None))
        return run_head(*inputs, **options)

    state = start(model, 0, replace(FLASHU.generate, skip_ratio=0.5))
    # Measured anew while layers are still skipped: the record is of those, not of the layers chosen next.
    state.schedule = Schedule(
        replace(plan, measure=LayerSkipping(ratio=0.75)) if step == 3 else plan
        for step, plan in enumerate(state.schedule)
    )
    assert state.schedule[3].layers == "measured" and state.schedule[3].run_backbone
    monkeypatch.setattr(generate.Prompt, "read", read_unrecorded(generate.Prompt.read, passes_seen))
    monkeypatch.setattr(model, "run_backbone", backbone)
    monkeypatch.setattr(model, "run_head", head)
    while not state.done:
        passes_seen.clear()
        step(model, state)
        passes = [options for part, options in passes_seen if part == "backbone"]
        ran = state.ran[-1]
        assert (ran.head == "computed") == (("head", None) in passes_seen)
        assert (ran.backbone != "not_needed") == bool(passes)
        for options in passes:
            assert (ran.backbone == "pruned") == (options.neurons is not None)
            assert {len(skipped) for skipped in options.skipped} <= {ran.layers_skipped}
            assert bool(options.skipped) == bool(ran.layers_skipped)
    assert len({(ran.backbone, ran.head, ran.layers_skipped) for ran in state.ran}) > 4


def read_unrecorded(read: Any, passes_seen: list[Any]) -> Any:
    """Reads a prompt without recording its passes, which belong to no step."""

    def reading(*inputs: Any) -> Any:
        before = list(passes_seen)
        branch = read(*inputs)
        passes_seen[:] = before
        return branch

    return reading


def test_removing_dead_computation_changes_nothing(tiny: Checkpoint) -> None:
    """The schedule before liveness, which runs the backbone in every step, gives the same latents."""
    model = tiny.model
    state, wasteful = start(model, 0), start(model, 0)
    wasteful.schedule = Schedule(
        replace(plan, run_backbone=True, run_cond=True, run_uncond=True, keep_head=True) for plan in wasteful.schedule
    )
    while not state.done:
        step(model, state)
        step(model, wasteful)
    assert (state.latents - wasteful.latents).abs().max() < 1e-6
    assert wasteful.counts["backbone_not_needed"] == 0
    assert state.counts["backbone_not_needed"] > 0


def test_a_skipped_layer_is_skipped_for_the_prompt_too(tiny: Checkpoint) -> None:
    """A step that skips a layer equals a step of a model without that layer."""
    model, skipped_layers = tiny.model, 1
    state = start(model, 1, GenerationPolicy(skip_ratio=0.3, skip_interval=9), num_inference_steps=12)
    step(model, state)
    state.skipped = frozenset({skipped_layers})
    before, time = state.latents, state.times[1]
    step(model, state)
    assert state.velocity is not None
    config = replace(model.config, backbone=replace(model.config.backbone, layers=model.config.backbone.layers - 1))
    smaller = Showo2(config).eval().requires_grad_(False)
    layers = [layer for index, layer in enumerate(model.backbone.layers) if index != skipped_layers]
    smaller.load_state_dict(model.state_dict() | {}, strict=False)
    smaller.backbone.layers = torch.nn.ModuleList(layers)
    rows = [PROMPTS[1], UNCOND]
    whole = torch.tensor([(row + [0] * 30)[:30] for row in rows])
    with torch.inference_mode():
        text, uncond = reference.velocities(
            smaller, whole, [len(row) for row in rows], before.repeat(2, 1, 1, 1), torch.tensor([time, time])
        ).chunk(2)
    assert (state.velocity - (uncond + 4.0 * (text - uncond))).abs().max() < 1e-5


def prefill(
    model: Showo2, policy: UnderstandingPolicy, *, tokens: int, latents: Tensor = LATENTS
) -> understand.Understanding:
    return understand.begin(
        model,
        system=understand.System(SYSTEM),
        latents=latents,
        suffix=SUFFIX,
        decoding=understand.Decoding(eos=-1, max_new_tokens=tokens),
        generator=torch.Generator(),
        spans=Spans(CPU),
        schedule=make_answer_schedule(policy.techniques, tokens=tokens),
        pruned=pruned(model),
    )


def test_catching_up_makes_the_cache_exact(tiny: Checkpoint) -> None:
    """After the first pass of an interval every layer's keys and values are those of a run that skipped nothing."""
    model = tiny.model
    state = prefill(model, UnderstandingPolicy(skip_ratio=0.3, skip_interval=4), tokens=30)
    exact = prefill(model, UnderstandingPolicy(), tokens=30)
    assert state.skipped
    blocks = []
    for _ in range(9):
        blocks.append(state.block)
        exact.tokens[-1] = state.tokens[-1]  # the same tokens for both
        understand.advance(model, [state], Spans(CPU))
        understand.advance(model, [exact], Spans(CPU))
    # Passes 2 to 4 skip layers; pass 5 runs those three tokens again, and so on.
    assert blocks == [1, 1, 1, 4, 1, 1, 1, 4, 1]
    last = state.cache.length - state.pending
    assert (state.pending, state.cache.length) == (1, exact.cache.length)
    for own, other in zip(state.cache.keys + state.cache.values, exact.cache.keys + exact.cache.values, strict=True):
        torch.testing.assert_close(own[:, :, :last], other[:, :, :last], atol=1e-5, rtol=0)
    assert state.counts["layers_skipped"] == 7 * len(state.skipped)


@torch.inference_mode()
def pruned_logits(model: Showo2, latents: Tensor, layer: int, ratio: float) -> Tensor:
    """The prefill's last logits without caches: the image tokens with the largest values leave behind a layer."""
    config = model.config.backbone
    _, token = model.time_tokens(torch.ones(1))
    picture = model.image_block(model.vision(latents), token)
    x = torch.cat([model.embed(SYSTEM), picture, model.embed(SUFFIX)], dim=1)
    positions = torch.arange(x.shape[1])
    late = model.config.understanding_block == "image"
    mask = reference.omni_mask(x.shape[1], [(len(SYSTEM) + late, picture.shape[1])], x.device)
    first = len(SYSTEM) + 1
    images = range(first, first + picture.shape[1] - 1)
    for index, decoder in enumerate(model.backbone.layers, start=1):
        cosine, sine = rotary(
            positions[None], config.hidden_size // config.heads, config.rope_theta, None, torch.float32
        )
        attention = decoder.get_submodule("self_attn")
        normed = decoder.input_layernorm(x)
        values = attention.project(normed)[2][0].flatten(1)
        x = x + reference._mix(attention, normed, cosine, sine, mask)
        x = x + decoder.mlp(decoder.post_attention_layernorm(x))
        if index == layer:
            norms = values.norm(dim=-1)
            ranked = sorted(images, key=lambda at: float(norms[at]), reverse=True)
            gone = set(ranked[: int(ratio * len(images))])
            stays = torch.tensor([at for at in range(x.shape[1]) if at not in gone])
            x, positions, mask = x[:, stays], positions[stays], mask[:, :, stays][:, :, :, stays]
    return model.logits(model.backbone.norm(x))[0, -1]


@pytest.mark.parametrize("placement", ["image", "time"])
def test_dropped_tokens_are_missing_from_deeper_layers(tiny: Checkpoint, placement: Literal["image", "time"]) -> None:
    model = Showo2(replace(tiny.model.config, understanding_block=placement)).eval()
    model.load_state_dict(tiny.model.state_dict())
    state = prefill(model, UnderstandingPolicy(token_ratio=0.5, token_layer=2), tokens=12)
    assert (state.logits - pruned_logits(model, LATENTS, 2, 0.5)).abs().max() < 1e-5
    assert (state.counts["visual_tokens_kept"], state.counts["visual_tokens_pruned"]) == (8, 8)
    layers = model.config.backbone.layers
    assert state.cache.dropped == [0, 0, *[8] * (layers - 2)]
    assert {keys.shape[2] for keys in state.cache.keys[2:]} == {state.cache.keys[0].shape[2] - 8}
    while not state.done:
        understand.advance(model, [state], Spans(CPU))
    assert len(state.tokens) == 12


def test_answers_at_different_tokens_keep_to_themselves(tiny: Checkpoint) -> None:
    model = tiny.model
    policy = replace(FLASHU.vqa, skip_ratio=0.34, skip_interval=5)
    pictures = [noise(seed, SHAPE) for seed in (5, 6, 7)]
    alone = [prefill(model, policy, tokens=20, latents=picture) for picture in pictures]
    for state in alone:
        while not state.done:
            understand.advance(model, [state], Spans(CPU))
    together = [prefill(model, policy, tokens=20, latents=picture) for picture in pictures]
    for _ in range(3):
        understand.advance(model, together[:1], Spans(CPU))
    while waiting := [state for state in together if not state.done]:
        batch = [state for state in waiting if state.work == waiting[-1].work]
        understand.advance(model, batch, Spans(CPU))
    for state, other in zip(together, alone, strict=True):
        assert state.tokens == other.tokens
        assert (state.logits - other.logits).abs().max() < 1e-5
        assert functional.cosine_similarity(state.logits, other.logits, dim=0) > 0.999


@pytest.mark.parametrize("policy", [GenerationPolicy(), GenerationPolicy(hybrid_threshold=1.0, skip_ratio=0.5)])
def test_neutral_settings_are_bit_equal_to_exact(tiny: Checkpoint, policy: GenerationPolicy) -> None:
    exact, neutral = (
        start(tiny.model, 0, GenerationPolicy(), num_inference_steps=6),
        start(tiny.model, 0, policy, num_inference_steps=6),
    )
    while not exact.done:
        step(tiny.model, exact)
        step(tiny.model, neutral)
    assert torch.equal(exact.latents, neutral.latents)
