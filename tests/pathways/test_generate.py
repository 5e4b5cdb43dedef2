from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch

from flashu_core.acceleration.plan import StepPlan, make_schedule
from flashu_core.checkpoint.load import Checkpoint
from flashu_core.model import reference
from flashu_core.model.sampler import noise, time_grid
from flashu_core.pathways import generate
from flashu_core.timing import Spans

CPU = torch.device("cpu")
SHAPE = (1, 16, 8, 8)
PROMPTS = ([1, 40, 41, 3], [1, 50, 51, 52, 53, 54, 55, 3])
UNCOND = [1, 3]


def start(
    tiny: Checkpoint, ids: list[int], *, seed: int, num_inference_steps: int = 6, guidance_scale: float = 4.0
) -> generate.Generation:
    model = tiny.model
    return generate.begin(
        model,
        cond=generate.Prompt(ids),
        uncond=generate.Prompt(UNCOND),
        noise=noise(seed, SHAPE),
        schedule=make_schedule((), num_inference_steps=num_inference_steps, guidance_scale=guidance_scale),
        times=time_grid(num_inference_steps, 3.0),
    )


def finish(tiny: Checkpoint, state: generate.Generation) -> torch.Tensor:
    while not state.done:
        generate.advance(tiny.model, [state], Spans(CPU))
    return state.latents


@torch.inference_mode()
def reference_latents(
    tiny: Checkpoint, ids: list[int], *, seed: int, num_inference_steps: int, guidance_scale: float
) -> torch.Tensor:
    """Whole sequences, both branches, no caches."""
    model, size = tiny.model, 17
    rows = [ids, UNCOND]
    length = max(len(row) for row in rows) + size
    whole = torch.tensor([(row + [0] * length)[:length] for row in rows])
    latents, times = noise(seed, SHAPE), time_grid(num_inference_steps, 3.0).tolist()
    for begin, end in itertools.pairwise(times):
        velocity = reference.velocities(
            model, whole, [len(row) for row in rows], latents.repeat(2, 1, 1, 1), torch.tensor([begin, begin])
        )
        latents = latents + (velocity[1:] + guidance_scale * (velocity[:1] - velocity[1:])) * (end - begin)
    return latents


@pytest.mark.parametrize("guidance_scale", [0.0, 1.0, 4.0])
@pytest.mark.parametrize("ids", PROMPTS, ids=["short", "long"])
def test_the_loop_is_the_references(tiny: Checkpoint, ids: list[int], guidance_scale: float) -> None:
    expected = reference_latents(tiny, ids, seed=1, num_inference_steps=6, guidance_scale=guidance_scale)
    found = finish(tiny, start(tiny, ids, seed=1, guidance_scale=guidance_scale))
    assert (found - expected).abs().max() < 1e-4


def test_requests_at_different_steps_share_batches(tiny: Checkpoint) -> None:
    options = [
        {"seed": 1, "num_inference_steps": 5},
        {"seed": 2, "num_inference_steps": 9, "guidance_scale": 1.0},
        {"seed": 3, "num_inference_steps": 7},
    ]
    prompts = [PROMPTS[0], PROMPTS[1], UNCOND]
    alone = [finish(tiny, start(tiny, ids, **kind)) for ids, kind in zip(prompts, options, strict=True)]  # type: ignore[arg-type]
    states = [start(tiny, ids, **kind) for ids, kind in zip(prompts, options, strict=True)]  # type: ignore[arg-type]
    for joined in (1, 2, 3, 3, 3, 3, 3, 3, 3, 3, 3):
        running = [state for state in states[:joined] if not state.done]
        if running:
            generate.advance(tiny.model, running, Spans(CPU))
    for state, expected in zip(states, alone, strict=True):
        assert state.done
        assert (state.latents - expected).abs().max() < 1e-5


def test_branches_that_nothing_reads_are_not_computed(tiny: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    rows: list[int] = []
    run = tiny.model.run_backbone

    def counted(x: torch.Tensor, *others: Any, **named: Any) -> object:
        rows.append(x.shape[0])
        return run(x, *others, **named)

    states = [start(tiny, PROMPTS[0], seed=1, guidance_scale=guidance_scale) for guidance_scale in (4.0, 1.0, 0.0)]
    monkeypatch.setattr(tiny.model, "run_backbone", counted)
    for state in states:
        generate.advance(tiny.model, [state], Spans(CPU))
    generate.advance(tiny.model, states, Spans(CPU))
    assert rows == [2, 1, 1, 4]


def test_a_prompts_branch_is_copied_not_changed(tiny: Checkpoint) -> None:
    prompt = generate.Prompt(PROMPTS[0])
    text = prompt.read(tiny.model)
    before = torch.stack(text.backbone.keys)
    state = generate.begin(
        tiny.model,
        cond=prompt,
        uncond=generate.Prompt(UNCOND),
        noise=noise(0, SHAPE),
        schedule=(StepPlan(2.0),),
        times=time_grid(2, 3.0),
    )
    finish(tiny, state)
    assert prompt.read(tiny.model) is text
    assert torch.equal(torch.stack(text.backbone.keys), before)
    assert (text.backbone.length, state.cond.branch.backbone.length) == (4, 4)
