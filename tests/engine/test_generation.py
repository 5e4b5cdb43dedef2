"""Previews: when they come, what they show, and that they change nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from flashu_core import (
    Begun,
    Engine,
    Event,
    Finished,
    GenerateRequest,
    InvalidRequestError,
    Preview,
    Progress,
    UnderstandRequest,
    UnitEnded,
)
from flashu_core.engine.generation import preview_steps
from flashu_core.images.tensors import to_pixels


def events_of(engine: Engine, request: GenerateRequest) -> list[Event]:
    """Without those that are the same for all requests."""
    events: list[Event] = []
    engine.generate(request, events.append)
    return [event for event in events if not isinstance(event, (Begun, UnitEnded))]


@pytest.mark.parametrize(
    ("steps", "previews", "expected"),
    [
        (12, 0, ()),
        (12, 1, (6,)),
        (12, 2, (4, 8)),
        (12, 3, (3, 6, 9)),
        (3, 3, (1, 2)),
        (2, 3, (1,)),
        (1, 3, ()),
    ],
)
def test_previews_are_evenly_spaced(steps: int, previews: int, expected: tuple[int, ...]) -> None:
    assert preview_steps(steps, previews) == expected


def test_there_are_never_more_than_asked() -> None:
    for steps in range(1, 60):
        for previews in range(4):
            behind = preview_steps(steps, previews)
            assert len(behind) <= previews
            assert all(0 < step < steps for step in behind)


@pytest.mark.parametrize("policy", ["exact", "flashu"])
def test_the_picture_is_the_same_with_and_without_them(embedded: Engine, policy: str) -> None:
    embedded.prepare()
    plain = events_of(
        embedded, GenerateRequest(prompt="a red circle", seed=3, num_inference_steps=13, acceleration=policy)
    )
    events = events_of(
        embedded,
        GenerateRequest(prompt="a red circle", seed=3, num_inference_steps=13, acceleration=policy, previews=3),
    )
    previews = [event for event in events if isinstance(event, Preview)]
    assert [event.index for event in previews] == [0, 1, 2]
    assert not any(isinstance(event, Preview) for event in plain)
    order = [event.step if isinstance(event, Progress) else "preview" for event in events[:-1]]
    assert order == [1, 2, 3, "preview", 4, 5, 6, "preview", 7, 8, 9, "preview", 10, 11, 12]
    last, unseen = events[-1], plain[-1]
    assert isinstance(last, Finished) and isinstance(unseen, Finished)
    assert last.result.schedule["previews"] == 3
    assert "previews" not in unseen.result.schedule
    assert "preview" in last.result.timings and "preview" not in unseen.result.timings
    final = last.result.images[0]  # type: ignore[union-attr]
    assert np.array_equal(final, unseen.result.images[0])  # type: ignore[union-attr]
    if policy == "exact":  # pruned neurons may be of another mind
        first, middle, near = (np.abs(event.image.astype(int) - final).mean() for event in previews)
        assert near < min(first, middle) / 2  # the nearer to its end, the nearer to what the picture becomes


def test_the_estimate_before_the_last_step_follows_the_velocity(tiny_engine: Engine) -> None:
    request = GenerateRequest(prompt="a", seed=1, num_inference_steps=4, previews=3, acceleration="exact")
    tiny_engine.submit(request, request_id="a")
    generation = tiny_engine._active["a"]
    assert tiny_engine.step() == [Begun("a")]
    tiny_engine.step()
    state = generation.state
    assert state is not None and hasattr(state, "estimate")
    assert torch.equal(state.estimate, state.latents)
    before, start = state.latents, state.times[0]
    tiny_engine.step()
    assert torch.allclose(state.estimate, before + state.velocity * (1 - start), atol=1e-5)
    while not tiny_engine.idle:
        tiny_engine.step()
    assert torch.equal(state.estimate, state.latents)


def test_an_answer_waits_for_no_more_than_one_unit(tiny_engine: Engine) -> None:
    request = GenerateRequest(prompt="a", seed=1, num_inference_steps=30, previews=3, acceleration="exact")
    tiny_engine.submit(request, request_id="a")
    while tiny_engine._active["a"].stage != "vae_decode":  # the first preview is next
        tiny_engine.step()
    question = UnderstandRequest(question="what?", max_new_tokens=1, acceleration="exact")
    tiny_engine.submit(question, request_id="b")
    events: list[Event] = []
    while not any(isinstance(event, Finished) and event.request_id == "b" for event in events):
        events += tiny_engine.step()
    assert sum(isinstance(event, UnitEnded) for event in events) <= 2
    while not tiny_engine.idle:
        events += tiny_engine.step()
    assert sum(isinstance(event, Preview) for event in events) == 3


def test_previews_are_of_one_picture() -> None:
    with pytest.raises(InvalidRequestError, match="num_images 1"):
        GenerateRequest(prompt="a", num_images=2, previews=1, acceleration="exact")
    for previews in (-1, 4):
        with pytest.raises(InvalidRequestError, match="previews"):
            GenerateRequest(prompt="a", previews=previews, acceleration="exact")


@pytest.mark.parametrize("policy", ["exact", "flashu", "flashu-fast"])
def test_the_schedule_sums_up_the_steps(embedded: Engine, policy: str) -> None:
    embedded.prepare()
    result = embedded.generate(GenerateRequest(prompt="a red circle", seed=3, acceleration=policy))
    schedule, ran = result.schedule, result.steps
    assert len(ran) == schedule["evaluations"]
    for kind in ("full", "pruned", "not_needed"):
        assert sum(one.backbone == kind for one in ran) == schedule.get(f"backbone_{kind}", 0)
    for kind in ("computed", "reused"):
        assert sum(one.head == kind for one in ran) == schedule.get(f"head_{kind}", 0)
    assert sum(one.backbone != "not_needed" for one in ran) == schedule["backbone_passes"]
    assert sum(one.layers_skipped for one in ran) == schedule["layers_skipped"]
    assert all(one.layers_skipped == 0 for one in ran if one.backbone == "not_needed")
    kinds = {(one.backbone, one.head) for one in ran}
    assert kinds == {("full", "computed")} if policy == "exact" else len(kinds) > 2


def test_latents_come_with_the_result_where_they_are_asked_for(embedded: Engine) -> None:
    without, with_latents = (
        embedded.generate(GenerateRequest(prompt="a", seed=1, num_inference_steps=4, output_latents=wanted))
        for wanted in (False, True)
    )
    assert without.latents is None and with_latents.latents is not None
    decoded = to_pixels(embedded._parts.vae.decode(torch.from_numpy(with_latents.latents)))
    assert np.array_equal(decoded[0], with_latents.images[0])
    assert np.array_equal(without.images[0], with_latents.images[0])
