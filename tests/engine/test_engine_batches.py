"""Many requests in one engine: who runs next, what each holds, how they end, and that none changes another."""

from __future__ import annotations

import copy
import itertools
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from flashu_core import (
    Begun,
    CancelledError,
    DeadlineExceededError,
    Engine,
    EngineConfig,
    Event,
    Failed,
    Finished,
    FlashUError,
    GenerateRequest,
    GenerateResult,
    Progress,
    Request,
    UnderstandRequest,
    UnderstandResult,
    UnitEnded,
)
from flashu_core.acceleration.calibration import Sample
from flashu_core.checkpoint.load import Checkpoint
from flashu_core.engine.generation import GenerateSequence
from flashu_core.engine.understanding import UnderstandSequence
from flashu_core.model.kv_cache import KeyValueCache

PICTURE = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)


NEXT_ID = itertools.count(1)


def submit(engine: Engine, request: Request) -> str:
    """Submits under a new id and returns that."""
    request_id = f"request-{next(NEXT_ID)}"
    engine.submit(request, request_id=request_id)
    return request_id


def run(engine: Engine, *requests: Request) -> tuple[list[str], list[Event]]:
    """Submits all at once and steps until idle."""
    identities = [submit(engine, request) for request in requests]
    events: list[Event] = []
    while not engine.idle:
        events += engine.step()
    return identities, events


def results(identities: list[str], events: list[Event]) -> list[GenerateResult]:
    found = {event.request_id: event.result for event in events if isinstance(event, Finished)}
    chosen = [found[identity] for identity in identities]
    return [result for result in chosen if isinstance(result, GenerateResult)]


def test_a_batch_changes_no_result(tiny_engine: Engine) -> None:
    requests = [
        GenerateRequest(prompt="a red circle", seed=1, num_inference_steps=5, acceleration="exact"),
        GenerateRequest(
            prompt="two large blue squares on a grey background",
            seed=2,
            num_inference_steps=9,
            guidance_scale=2.0,
            acceleration="exact",
        ),
        GenerateRequest(prompt="", seed=3, num_inference_steps=4, guidance_scale=1.0, acceleration="exact"),
        GenerateRequest(prompt="a", negative_prompt="green triangles", seed=4, num_images=2, acceleration="exact"),
        GenerateRequest(prompt="a", seed=4, guidance_scale=0.0, acceleration="exact"),
    ]
    together = results(
        *run(tiny_engine, *requests, UnderstandRequest(question="what?", image=PICTURE, acceleration="exact"))
    )
    for request, found in zip(requests, together, strict=True):
        alone = tiny_engine.generate(request)
        for image, image_alone in zip(found.images, alone.images, strict=True):
            assert np.abs(image.astype(int) - image_alone).max() <= 1


def ticking() -> Callable[[], float]:
    """A clock that moves on by a second whenever it is read, so that a unit takes as long as it reads it often."""
    return itertools.count(1.0).__next__


def test_an_answer_starts_between_denoising_steps(tiny: Checkpoint) -> None:
    engine = Engine(tiny, EngineConfig(), clock=ticking())
    generation = submit(engine, GenerateRequest(prompt="a", seed=1, num_inference_steps=30, acceleration="exact"))
    for _ in range(3):
        engine.step()
    question = submit(
        engine, UnderstandRequest(question="what?", image=PICTURE, max_new_tokens=3, acceleration="exact")
    )
    order: list[Event] = []
    while not any(isinstance(event, Finished) and event.request_id == question for event in order):
        order += engine.step()
    assert sum(isinstance(event, Progress) for event in order) <= 2
    engine.cancel(generation)


def test_pictures_move_on_while_answers_keep_coming(tiny: Checkpoint) -> None:
    engine = Engine(tiny, EngineConfig(answer_weight=2.0), clock=ticking())
    submit(engine, GenerateRequest(prompt="a", seed=1, num_inference_steps=40, acceleration="exact"))
    engine.step()
    request = UnderstandRequest(
        question="what?", image=PICTURE, max_new_tokens=60, temperature=10.0, seed=2, acceleration="exact"
    )
    question = submit(engine, request)
    order: list[Event] = []
    while not any(isinstance(event, Finished) and event.request_id == question for event in order):
        order += engine.step()
    (result,) = [event for event in order if isinstance(event, Finished)]
    assert isinstance(result.result, UnderstandResult)
    steps = sum(isinstance(event, Progress) for event in order)
    # The prefill reads the clock twice more, and a denoising step takes as long as a token.
    assert steps == pytest.approx((result.result.completion_tokens + 2) / 2, abs=2)
    assert steps > 2


def test_what_waits_holds_nothing_and_what_runs_stays_within_bounds(tiny: Checkpoint) -> None:
    engine = Engine(tiny, EngineConfig(max_running=2))
    for index in range(5):
        submit(
            engine,
            GenerateRequest(
                prompt="a", seed=index, num_inference_steps=4, num_images=1 + index // 4, acceleration="exact"
            ),
        )
        submit(engine, UnderstandRequest(question="what?", image=PICTURE, max_new_tokens=3, acceleration="exact"))
    maximum: Counter[str] = Counter()
    finished = 0
    while not engine.idle:
        finished += sum(isinstance(event, Finished) for event in engine.step())
        held = Counter[str]()
        for active in engine._active.values():
            if active.state is not None:
                held[active.task] += active.rows
        maximum |= held
    assert finished == 10
    assert maximum == {"generate": 2, "vqa": 2}


def test_bytes_are_what_a_request_really_holds(tiny: Checkpoint) -> None:
    engine = Engine(tiny, EngineConfig())
    question = UnderstandRequest(question="what?", image=PICTURE, max_new_tokens=5, acceleration="exact")
    identities = [
        submit(engine, GenerateRequest(prompt="a red circle", num_images=2, acceleration="exact")),
        submit(engine, question),
    ]
    generation, answering = (engine._active[identity] for identity in identities)
    expected = [generation.nbytes, answering.nbytes]
    assert isinstance(generation, GenerateSequence) and isinstance(answering, UnderstandSequence)
    while generation.state is None or answering.state is None:
        engine.step()
    assert engine.memory["caches"] == sum(expected)
    branches = [generation.state.cond.branch, generation.state.uncond.branch]
    caches = [cache for branch in branches for cache in (branch.backbone, branch.head)]
    engine.step()
    block = caches[0].capacity - len(generation.cond.ids)
    state = 2 * 2 * block * tiny.model.config.head.hidden_size * 4
    assert expected[0] == sum(_bytes(cache) for cache in caches) + state + generation.cond.nbytes
    assert engine.memory["shared"] == generation.uncond.nbytes + engine._understand_runner.nbytes > 0
    # The bound counts the place of a time token that this way of reading pictures may not need.
    position = tiny.model.backbone_position_size
    assert _bytes(answering.state.cache) <= expected[1] <= _bytes(answering.state.cache) + 2 * position


def _bytes(cache: KeyValueCache) -> int:
    return sum(tensor.nbytes for tensor in (*cache.keys, *cache.values))


def test_a_request_larger_than_the_bound_runs_alone(tiny: Checkpoint) -> None:
    engine = Engine(tiny, EngineConfig(max_picture_bytes=1, max_answer_bytes=1))
    requests = [
        GenerateRequest(prompt="a", seed=seed, num_inference_steps=3, acceleration="exact") for seed in range(3)
    ]
    identities, events = run(
        engine, *requests, UnderstandRequest(question="what?", image=PICTURE, max_new_tokens=2, acceleration="exact")
    )
    progress = [event.request_id for event in events if isinstance(event, Progress)]
    assert progress == [identity for identity in identities[:3] for _ in range(2)]
    assert sum(isinstance(event, Finished) for event in events) == 4


def test_cancelling_ends_at_the_next_step(tiny_engine: Engine) -> None:
    kept = submit(tiny_engine, GenerateRequest(prompt="a", seed=1, num_inference_steps=4, acceleration="exact"))
    dropped = submit(tiny_engine, GenerateRequest(prompt="b", seed=1, num_inference_steps=900, acceleration="exact"))
    for _ in range(4):
        tiny_engine.step()
    tiny_engine.cancel(dropped)
    tiny_engine.cancel("another")
    events = tiny_engine.step()
    failed = [event for event in events if isinstance(event, Failed)]
    assert [(event.request_id, type(event.error)) for event in failed] == [(dropped, CancelledError)]
    while not tiny_engine.idle:
        events += tiny_engine.step()
    assert [event.request_id for event in events if isinstance(event, Finished)] == [kept]


def test_deadlines_hold_before_and_during_work(tiny: Checkpoint) -> None:
    now = 100.0
    engine = Engine(tiny, EngineConfig(), clock=lambda: now)
    with pytest.raises(DeadlineExceededError):
        submit(engine, GenerateRequest(prompt="a", deadline=99.0, acceleration="exact"))
    late = submit(engine, GenerateRequest(prompt="a", deadline=100.5, acceleration="exact"))
    later = submit(engine, GenerateRequest(prompt="a", deadline=101.0, acceleration="exact"))
    now = 100.7
    events = engine.step()
    assert [(event.request_id, type(event.error)) for event in events if isinstance(event, Failed)] == [
        (late, DeadlineExceededError)
    ]
    now = 102.0
    (event,) = engine.step()
    assert isinstance(event, Failed)
    assert (event.request_id, type(event.error)) == (later, DeadlineExceededError)
    assert engine.idle


def test_running_out_of_memory_fails_the_unit_and_nobody_else(
    tiny_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exhausted(*arguments: object) -> None:
        raise torch.OutOfMemoryError("no room")

    generation = submit(tiny_engine, GenerateRequest(prompt="a", seed=1, num_inference_steps=3, acceleration="exact"))
    with monkeypatch.context() as patch:
        patch.setattr("flashu_core.pathways.generate.advance", exhausted)
        events = [event for _ in range(3) for event in tiny_engine.step()]
    (failed,) = [event for event in events if isinstance(event, Failed)]
    assert failed.request_id == generation
    assert isinstance(failed.error, FlashUError)
    assert tiny_engine.generate(GenerateRequest(prompt="a", seed=1, num_inference_steps=3, acceleration="exact")).images


def test_batched_answers_are_those_given_alone(tiny_engine: Engine) -> None:
    requests = [
        UnderstandRequest(
            question=question, image=PICTURE[: 10 + 5 * index], max_new_tokens=6 + index, acceleration="exact"
        )
        for index, question in enumerate(["what?", "how many squares are there in this picture?", "a"])
    ]
    identities, events = run(tiny_engine, *requests)
    found = {event.request_id: event.result for event in events if isinstance(event, Finished)}
    for identity, request in zip(identities, requests, strict=True):
        together, alone = found[identity], tiny_engine.understand(request)
        assert isinstance(together, UnderstandResult)
        assert together.answer == alone.answer


def _ids(event: Event) -> tuple[str, ...]:
    return event.request_ids if isinstance(event, UnitEnded) else (event.request_id,)


def test_every_unit_is_reported(tiny_engine: Engine) -> None:
    first, events = run(
        tiny_engine,
        *(
            GenerateRequest(prompt="a", num_inference_steps=4, num_images=images, acceleration="exact")
            for images in (1, 2)
        ),
    )
    units = [event for event in events if isinstance(event, UnitEnded)]
    stages = [(unit.stage, unit.rows) for unit in units]
    assert stages == [("prefix", 1), ("prefix", 2), *[("evaluate", 3)] * 3, ("vae_decode", 1), ("vae_decode", 2)]
    assert all(unit.seconds > 0 for unit in units)
    assert [event.request_id for event in events if isinstance(event, Begun)] == first
    assert [unit.request_ids for unit in units[:3]] == [(first[0],), (first[1],), tuple(first)]
    for request_id in first:
        mine = [event for event in events if request_id in _ids(event)]
        assert isinstance(mine[0], Begun) and isinstance(mine[1], UnitEnded) and mine[1].stage == "prefix"
        assert isinstance(mine[-2], UnitEnded) and isinstance(mine[-1], Finished)
    held = tiny_engine.memory
    assert (held["weights"] > 0, held["caches"]) == (True, 0)
    assert units[-1].memory == held and units[0].memory["caches"] > 0
    _, events = run(tiny_engine, UnderstandRequest(question="a", image=PICTURE, max_new_tokens=3, acceleration="exact"))
    units = [event for event in events if isinstance(event, UnitEnded)]
    assert (units[0].stage, {unit.stage for unit in units[1:]}) == ("prefill", {"decode"})


def test_accelerated_requests_keep_to_themselves(tiny: Checkpoint) -> None:
    """Both tasks, both policies, at different steps in one engine."""
    own = replace(tiny, model=copy.deepcopy(tiny.model))
    engine = Engine(own, EngineConfig())
    engine.use(engine.calibrate(["a red circle"], [Sample(np.zeros((64, 64, 3), np.uint8), "what is it?")]))
    picture = np.full((64, 64, 3), 90, np.uint8)
    requests: list[Request] = [
        GenerateRequest(prompt="a red circle", num_inference_steps=14, seed=1, acceleration="flashu"),
        GenerateRequest(
            prompt="two squares", num_inference_steps=17, seed=2, acceleration="flashu", overrides={"skip_ratio": 0.5}
        ),
        GenerateRequest(prompt="a red circle", num_inference_steps=9, seed=3, acceleration="exact"),
        UnderstandRequest(question="what is it?", image=picture, max_new_tokens=12, acceleration="flashu"),
        UnderstandRequest(question="how many?", image=picture, max_new_tokens=9, acceleration="exact"),
    ]
    alone = [engine.generate(r) if isinstance(r, GenerateRequest) else engine.understand(r) for r in requests]
    identities, events = run(engine, *requests)
    found = {event.request_id: event.result for event in events if isinstance(event, Finished)}
    for identity, expected in zip(identities, alone, strict=True):
        result = found[identity]
        assert result.schedule == expected.schedule
        if isinstance(result, GenerateResult) and isinstance(expected, GenerateResult):
            assert np.abs(result.images[0].astype(int) - expected.images[0].astype(int)).max() <= 1
        elif isinstance(result, UnderstandResult) and isinstance(expected, UnderstandResult):
            assert result.answer == expected.answer


FATES = {"cancelled": CancelledError, "late": DeadlineExceededError, "not a number": FlashUError}


@pytest.mark.parametrize("policy", ["exact", "flashu"])
@pytest.mark.parametrize("fate", FATES)
def test_a_failed_request_changes_no_other_of_its_batch(embedded: Engine, policy: str, fate: str) -> None:
    generation = GenerateRequest(prompt="a red circle", seed=1, num_inference_steps=12, acceleration=policy)
    # So hot, and with seeds such that an answer goes on to its limit.
    question = UnderstandRequest(
        question="what is this?", image=PICTURE, max_new_tokens=30, acceleration=policy, temperature=10.0, seed=4
    )
    generations = [generation, replace(generation, prompt="a large blue square", seed=2, num_images=2)]
    questions = [question, replace(question, question="how many squares are there?", seed=5)]
    generated = [embedded.generate(one) for one in generations]
    answered = [embedded.understand(one) for one in questions]
    lost = [submit(embedded, one) for one in (replace(generation, seed=9), replace(question, seed=11))]
    together = [submit(embedded, one) for one in (*generations, *questions)]
    left, events = set(lost), list[Event]()
    while not embedded.idle:
        events += embedded.step()
        for identity in [one for one in left if _is_under_way(embedded._active[one])]:
            _befall(embedded, identity, fate)
            left.remove(identity)
    failed = {event.request_id: type(event.error) for event in events if isinstance(event, Failed)}
    assert failed == dict.fromkeys(lost, FATES[fate])
    found = {event.request_id: event.result for event in events if isinstance(event, Finished)}
    for identity, expected in zip(together[:2], generated, strict=True):
        result = found[identity]
        assert isinstance(result, GenerateResult)
        for image, expected_image in zip(result.images, expected.images, strict=True):
            assert np.abs(image.astype(int) - expected_image).max() <= 1
    for identity, said in zip(together[2:], answered, strict=True):
        result = found[identity]
        assert isinstance(result, UnderstandResult)
        assert result.answer == said.answer


def _is_under_way(active: GenerateSequence | UnderstandSequence) -> bool:
    if isinstance(active, GenerateSequence):
        return active.state is not None and active.state.step >= 3
    return active.state is not None and len(active.state.tokens) >= 2


@torch.inference_mode()
def _befall(engine: Engine, identity: str, fate: str) -> None:
    active = engine._active[identity]
    assert active.state is not None
    if fate == "cancelled":
        engine.cancel(identity)
    elif fate == "late":
        active.request = replace(active.request, deadline=0.0)  # type: ignore[assignment]
    elif isinstance(active, GenerateSequence):
        active.state.latents.fill_(float("nan"))
    else:
        for tensor in (*active.state.cache.keys, *active.state.cache.values):
            tensor.fill_(float("nan"))
