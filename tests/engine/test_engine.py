"""One request at a time: its events, its result and what is rejected."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest

from flashu_core import (
    Begun,
    Engine,
    EngineConfig,
    Event,
    Failed,
    Finished,
    GenerateRequest,
    InvalidRequestError,
    Progress,
    Request,
    Text,
    UnderstandRequest,
    UnderstandResult,
    UnitEnded,
)
from flashu_core.checkpoint.load import Checkpoint

PICTURE = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)


def test_generation_result_events_and_timings(tiny_engine: Engine) -> None:
    events: list[Event] = []
    result = tiny_engine.generate(
        GenerateRequest(prompt="a red circle", num_inference_steps=6, seed=3, acceleration="exact"), events.append
    )
    assert [image.shape for image in result.images] == [(64, 64, 3)]
    assert result.images[0].dtype == np.uint8
    assert (result.seeds, result.num_inference_steps, result.guidance_scale, result.acceleration) == (
        (3,),
        6,
        5.0,
        "exact",
    )
    passes = {"backbone_passes": 5, "backbone_full": 5, "head_passes": 5, "head_computed": 5}
    assert result.schedule == {"evaluations": 5, "layers_skipped": 0, **passes}
    progress = [event for event in events if isinstance(event, Progress)]
    assert [(event.step, event.of) for event in progress] == [(index, 5) for index in range(1, 6)]
    parts = {"tokenize", "prefix", "features", "backbone", "head", "guidance", "vae_decode"}
    assert set(result.timings) == parts | {"queue", "total"}
    assert all(value > 0 for value in result.timings.values())
    assert sum(result.timings[name] for name in parts - {"tokenize"}) <= result.timings["total"]


def test_understanding_result_events_and_timings(tiny_engine: Engine) -> None:
    events: list[Event] = []
    request = UnderstandRequest(question="what is this?", image=PICTURE, max_new_tokens=12, acceleration="exact")
    result = tiny_engine.understand(request, events.append)
    assert "".join(event.text for event in events if isinstance(event, Text)) == result.answer
    assert result.finish_reason in ("stop", "length")
    assert 0 < result.completion_tokens <= 12
    assert result.prompt_tokens > 16
    assert {"tokenize", "vae_encode", "features", "prefill", "queue", "time_to_first_token", "total"} <= set(
        result.timings
    )
    assert tiny_engine.idle


def test_a_seed_means_the_same_picture(tiny_engine: Engine) -> None:
    first, again = (
        tiny_engine.generate(GenerateRequest(prompt="a", seed=7, acceleration="exact")).images[0] for _ in range(2)
    )
    other = tiny_engine.generate(GenerateRequest(prompt="a", seed=8, acceleration="exact")).images[0]
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_several_pictures_of_one_request_are_those_of_their_seeds(tiny_engine: Engine) -> None:
    together = tiny_engine.generate(GenerateRequest(prompt="a red circle", num_images=3, seed=5, acceleration="exact"))
    assert together.seeds == (5, 6, 7)
    for image, seed in zip(together.images, together.seeds, strict=True):
        alone = tiny_engine.generate(GenerateRequest(prompt="a red circle", seed=seed, acceleration="exact")).images[0]
        assert np.abs(image.astype(int) - alone).max() <= 1


def test_a_random_seed_is_reported_and_repeatable(tiny_engine: Engine) -> None:
    generated = tiny_engine.generate(GenerateRequest(prompt="a", acceleration="exact"))
    again = tiny_engine.generate(GenerateRequest(prompt="a", seed=generated.seeds[0], acceleration="exact"))
    assert np.array_equal(generated.images[0], again.images[0])


def test_the_negative_prompt_matters(tiny_engine: Engine) -> None:
    plain = tiny_engine.generate(GenerateRequest(prompt="a", seed=1, acceleration="exact")).images[0]
    steered = tiny_engine.generate(
        GenerateRequest(prompt="a", negative_prompt="red", seed=1, acceleration="exact")
    ).images[0]
    assert not np.array_equal(plain, steered)


@pytest.mark.parametrize(
    ("request_", "parameter"),
    [
        (GenerateRequest(prompt="a", width=65, height=64, acceleration="exact"), "size"),
        (GenerateRequest(prompt="a " * 1000, acceleration="exact"), "prompt"),
        (GenerateRequest(prompt="a", negative_prompt="a " * 1000, acceleration="exact"), "negative_prompt"),
        (GenerateRequest(prompt="a", acceleration="warp"), "acceleration"),
        (UnderstandRequest(question="a " * 1000, image=PICTURE, acceleration="exact"), "question"),
        (UnderstandRequest(question="a", image=PICTURE, acceleration="warp"), "acceleration"),
    ],
    ids=["size", "prompt", "negative", "policy", "question", "vqa-policy"],
)
def test_what_the_model_cannot_do_is_refused_at_once(tiny_engine: Engine, request_: Request, parameter: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        tiny_engine.submit(request_, request_id="a")
    assert caught.value.parameter == parameter
    assert tiny_engine.idle


def test_an_id_is_of_one_active_request(tiny_engine: Engine) -> None:
    request = GenerateRequest(prompt="a", num_inference_steps=3, acceleration="exact")
    tiny_engine.submit(request, request_id="a")
    with pytest.raises(InvalidRequestError, match="request_id is 'a'") as caught:
        tiny_engine.submit(request, request_id="a")
    assert caught.value.parameter == "request_id"
    events: list[Event] = []
    while not tiny_engine.idle:
        events += tiny_engine.step()
    assert sum(isinstance(event, Finished) for event in events) == 1
    tiny_engine.submit(request, request_id="a")  # once it has ended, the id is free
    tiny_engine.cancel("a")
    assert [type(event) for event in tiny_engine.step()] == [Failed]


def test_a_request_that_is_cancelled_after_it_began_never_runs(tiny_engine: Engine) -> None:
    request = GenerateRequest(prompt="a", num_inference_steps=3, acceleration="exact")
    tiny_engine.submit(request, request_id="a")
    tiny_engine.submit(request, request_id="b")
    assert tiny_engine.step() == [Begun("a")]
    tiny_engine.cancel("a")
    failed, begun = tiny_engine.step()
    assert isinstance(failed, Failed) and failed.request_id == "a"
    assert begun == Begun("b")
    events: list[Event] = []
    while not tiny_engine.idle:
        events += tiny_engine.step()
    assert all(event.request_ids == ("b",) for event in events if isinstance(event, UnitEnded))


@pytest.mark.parametrize("task", ["generate", "vqa"])
def test_a_checkpoint_without_a_calibration_is_calibrated_where_the_policy_prunes(tiny: Checkpoint, task: str) -> None:
    engine = Engine(replace(tiny, model=copy.deepcopy(tiny.model)), EngineConfig(calibrated=False))

    def run(policy: str) -> None:
        if task == "generate":
            engine.generate(GenerateRequest(prompt="a", num_inference_steps=3, acceleration=policy))
        else:
            engine.understand(UnderstandRequest(question="what?", max_new_tokens=2, acceleration=policy))

    run("exact")
    assert not engine.calibrated
    run("flashu")
    assert engine.calibrated


def test_sampled_answers_follow_their_seed(tiny_engine: Engine) -> None:
    def answer(seed: int) -> str:
        request = UnderstandRequest(
            question="what?",
            image=PICTURE,
            max_new_tokens=10,
            temperature=2.0,
            top_p=0.9,
            seed=seed,
            acceleration="exact",
        )
        return tiny_engine.understand(request).answer

    assert answer(1) == answer(1)
    assert len({answer(seed) for seed in range(4)}) > 1


def test_the_embedded_model_follows_a_prompt_and_reads_the_picture(embedded: Engine) -> None:
    generated = embedded.generate(
        GenerateRequest(prompt="a large red circle on a white background", seed=1, acceleration="exact")
    )
    image = generated.images[0]
    assert (image.shape, embedded.info.name) == ((64, 64, 3), "shapes-64")
    requested = UnderstandRequest(
        question="what colour is the circle?", image=image, max_new_tokens=4, acceleration="exact"
    )
    assert embedded.understand(requested).answer == "red"


def test_bfloat16_generates_the_same_scene(embedded: Engine) -> None:
    request = GenerateRequest(prompt="a red circle", seed=2, acceleration="exact")
    exact = embedded.generate(request).images[0].astype(float)
    rounded = Engine.load(None, EngineConfig(dtype="bfloat16")).generate(request).images[0].astype(float)
    assert np.abs(exact - rounded).mean() < 6


def test_warm_up_prepares_and_leaves_nothing_behind(tiny: Checkpoint) -> None:
    engine = Engine(replace(tiny, model=copy.deepcopy(tiny.model)), EngineConfig(calibrated=False))
    assert engine.costs is None
    engine.warm_up()
    assert engine.calibrated
    assert engine.costs is not None
    assert engine.costs.price(GenerateRequest(prompt="a", acceleration="exact")) > 0
    assert engine.idle
    assert engine.step() == []


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (GenerateRequest(prompt="a", overrides={"token_ratio": 0.5}, acceleration="exact"), "token_ratio"),
        (GenerateRequest(prompt="a", overrides={"head_interval": 0}, acceleration="exact"), "head_interval is 0"),
        (
            UnderstandRequest(
                question="a",
                image=np.zeros((9, 9, 3), np.uint8),
                overrides={"token_ratio": 0.5, "token_layer": 4},
                acceleration="exact",
            ),
            "token_layer is 4",
        ),
    ],
)
def test_unusable_parameters_are_refused_at_once(tiny_engine: Engine, request_: Request, message: str) -> None:
    with pytest.raises(InvalidRequestError, match=message) as caught:
        tiny_engine.submit(request_, request_id="a")
    assert caught.value.parameter == "acceleration"
    assert tiny_engine.idle


def test_a_question_without_a_picture(tiny_engine: Engine) -> None:
    for policy in ("exact", "flashu"):
        tiny_engine.prepare()
        events: list[Event] = []
        request = UnderstandRequest(question="what is red?", max_new_tokens=12, acceleration=policy)
        result = tiny_engine.understand(request, events.append)
        assert "".join(event.text for event in events if isinstance(event, Text)) == result.answer
        assert result.completion_tokens > 0
        assert result.prompt_tokens < 40
        assert "vae_encode" not in result.timings and "features" not in result.timings
        assert result.schedule["visual_tokens_kept"] == result.schedule["visual_tokens_pruned"] == 0


def test_an_answer_ends_before_a_stop(tiny_engine: Engine) -> None:
    def answer(*stop: str) -> tuple[UnderstandResult, str]:
        events: list[Event] = []
        request = UnderstandRequest(question="what is red?", max_new_tokens=24, stop=stop, acceleration="exact")
        result = tiny_engine.understand(request, events.append)
        return result, "".join(event.text for event in events if isinstance(event, Text))

    whole, _ = answer()
    assert len(whole.answer) > 8
    for start in range(2, 6):
        # One that ends in the middle of the answer's tokens, and one that never comes but begins often.
        stop = whole.answer[start : start + 3]
        result, streamed = answer(stop, whole.answer[start : start + 2] + "\0")
        assert result.answer == streamed == whole.answer[: whole.answer.index(stop)]
        assert result.finish_reason == "stop"
        assert result.completion_tokens < whole.completion_tokens
    never, streamed = answer(whole.answer + "\0")
    assert never.answer == streamed == whole.answer
    for stop in [("",), ("a",) * 5]:
        with pytest.raises(InvalidRequestError, match="stop"):
            UnderstandRequest(question="a", stop=stop, acceleration="exact")


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_log_probabilities_come_with_the_tokens_they_are_of(tiny_engine: Engine, temperature: float) -> None:
    events: list[Event] = []
    request = UnderstandRequest(
        question="what is red?", max_new_tokens=40, logprobs=3, temperature=temperature, seed=1, acceleration="exact"
    )
    result = tiny_engine.understand(request, events.append)
    pieces = [event for event in events if isinstance(event, Text)]
    assert len(result.logprobs) == result.completion_tokens > 8
    assert tuple(token for piece in pieces for token in piece.logprobs) == result.logprobs
    # A random model says bytes that are no UTF-8 by themselves: joined they are the answer's.
    written = b"".join(bytes(token.chosen.bytes) for token in result.logprobs)
    assert written.decode("utf-8", "replace") == result.answer == "".join(piece.text for piece in pieces)
    said = ""
    for piece in pieces:  # no token before its text
        said += piece.text
        received = result.logprobs[: sum(len(one.logprobs) for one in pieces[: pieces.index(piece) + 1])]
        assert said.startswith(b"".join(bytes(token.chosen.bytes) for token in received).decode("utf-8", "replace"))
    for token in result.logprobs:
        assert len(token.top) == 3
        assert token.chosen.logprob <= token.top[0].logprob <= 0
        assert [one.logprob for one in token.top] == sorted((one.logprob for one in token.top), reverse=True)
        assert token.chosen.token == bytes(token.chosen.bytes).decode("utf-8", "replace")
        if temperature == 0:
            assert token.chosen.logprob == token.top[0].logprob


def test_log_probabilities_end_where_a_stop_cuts(tiny_engine: Engine) -> None:
    request = UnderstandRequest(question="what is red?", max_new_tokens=24, logprobs=0, acceleration="exact")
    whole = tiny_engine.understand(request)
    for start in range(2, 8):
        events: list[Event] = []
        stop = whole.answer[start : start + 3]
        cut = tiny_engine.understand(replace(request, stop=(stop,)), events.append)
        assert cut.logprobs == whole.logprobs[: len(cut.logprobs)]
        received = tuple(token for event in events if isinstance(event, Text) for token in event.logprobs)
        assert received == cut.logprobs
        if not cut.answer:
            assert cut.logprobs == ()
            continue
        written = b"".join(bytes(token.chosen.bytes) for token in cut.logprobs).decode("utf-8", "replace")
        shorter = b"".join(bytes(token.chosen.bytes) for token in cut.logprobs[:-1]).decode("utf-8", "replace")
        assert len(shorter) < len(cut.answer) <= len(written)
        assert not cut.logprobs[0].top


def test_log_probabilities_are_there_for_who_asks_only(tiny_engine: Engine) -> None:
    events: list[Event] = []
    result = tiny_engine.understand(
        UnderstandRequest(question="what is red?", max_new_tokens=4, acceleration="exact"), events.append
    )
    assert result.logprobs == ()
    assert all(event.logprobs == () for event in events if isinstance(event, Text))
    for count in (-1, 21):
        with pytest.raises(InvalidRequestError, match="logprobs"):
            UnderstandRequest(question="a", logprobs=count, acceleration="exact")


def test_tokens_of_a_prompt_are_counted(tiny_engine: Engine) -> None:
    def tokens(**fields: str) -> int:
        return tiny_engine.generate(
            GenerateRequest(num_inference_steps=3, acceleration="exact", **fields)
        ).prompt_tokens  # type: ignore[arg-type]

    assert tokens(prompt="a red circle") > tokens(prompt="a") == 3
    assert tokens(prompt="a", negative_prompt="a") == 6
