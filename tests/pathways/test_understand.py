from __future__ import annotations

from dataclasses import replace
from typing import Literal

import pytest
import torch

from flashu_core.checkpoint.load import Checkpoint
from flashu_core.model import reference
from flashu_core.model.sampler import noise
from flashu_core.model.showo2 import Showo2
from flashu_core.pathways import understand
from flashu_core.timing import Spans

CPU = torch.device("cpu")
SYSTEM, SUFFIX = [1, 60, 61, 62, 3], [4, 70, 71, 72]
LATENTS = noise(5, (1, 16, 8, 8))


def begin(
    model: Showo2, *, tokens: int, eos: int = -1, temperature: float = 0.0, logprobs: int | None = None
) -> understand.Understanding:
    return understand.begin(
        model,
        system=understand.System(SYSTEM),
        latents=LATENTS,
        suffix=SUFFIX,
        decoding=understand.Decoding(eos=eos, max_new_tokens=tokens, temperature=temperature, logprobs=logprobs),
        generator=torch.Generator().manual_seed(0),
        spans=Spans(CPU),
    )


@torch.inference_mode()
def reference_answer(model: Showo2, tokens: int) -> list[int]:
    """Every token from the whole sequence anew."""
    answer: list[int] = []
    for _ in range(tokens):
        answer.append(int(answer_logits(model, answer).argmax()))
    return answer


@torch.inference_mode()
def answer_logits(model: Showo2, answer: list[int]) -> torch.Tensor:
    """Scores of what follows so much of an answer, (vocabulary,), from the whole sequence anew."""
    _, time_token = model.time_tokens(torch.ones(1))
    picture = model.image_block(model.vision(LATENTS), time_token)
    late = model.config.understanding_block == "image" and model.config.time_token
    block = (len(SYSTEM) + int(late), picture.shape[1])
    if not model.config.time_token and model.config.understanding_block == "image":
        block = (len(SYSTEM), picture.shape[1] + 1)
    whole = torch.cat([model.embed(SYSTEM), picture, model.embed(SUFFIX + answer)], dim=1)
    return reference.answer_logits(model, whole, block)[0, -1]


@pytest.mark.parametrize("temperature", [0.0, 1.5])
def test_log_probabilities_are_those_of_the_references_scores(tiny: Checkpoint, temperature: float) -> None:
    """Of the raw scores, whatever the temperature; to 1e-5 of a direct log_softmax."""
    state = begin(tiny.model, tokens=8, temperature=temperature, logprobs=5)
    while not state.done:
        understand.advance(tiny.model, [state], Spans(CPU))
    assert len(state.logprobs) == len(state.tokens) == 8
    for index, (token, (value, top)) in enumerate(zip(state.tokens, state.logprobs, strict=True)):
        direct = torch.log_softmax(answer_logits(tiny.model, state.tokens[:index]).double(), dim=-1)
        assert value == pytest.approx(float(direct[token]), abs=1e-5)
        assert [one for _, one in top] == pytest.approx(direct.topk(5).values.tolist(), abs=1e-5)
        assert [float(direct[one]) for one, _ in top] == pytest.approx([value for _, value in top], abs=1e-5)
    unasked = begin(tiny.model, tokens=8, temperature=temperature)
    while not unasked.done:
        understand.advance(tiny.model, [unasked], Spans(CPU))
    assert unasked.tokens == state.tokens
    assert unasked.logprobs == []


@pytest.mark.parametrize("placement", ["image", "time"])
def test_decoding_is_the_references(tiny: Checkpoint, placement: Literal["image", "time"]) -> None:
    model = Showo2(replace(tiny.model.config, understanding_block=placement)).eval()
    model.load_state_dict(tiny.model.state_dict())
    state = begin(model, tokens=12)
    while not state.done:
        understand.advance(model, [state], Spans(CPU))
    assert state.tokens == reference_answer(model, 12)
    assert state.counts["decode_passes"] == 11


def test_the_end_token_ends_the_answer_and_is_not_part_of_it(tiny: Checkpoint) -> None:
    plain = begin(tiny.model, tokens=6)
    while not plain.done:
        understand.advance(tiny.model, [plain], Spans(CPU))
    eos = plain.tokens[2]
    state = begin(tiny.model, tokens=6, eos=eos)
    while not state.done:
        understand.advance(tiny.model, [state], Spans(CPU))
    assert state.ended
    assert state.tokens == plain.tokens[: plain.tokens.index(eos)]


def test_the_system_prefix_is_copied_not_changed(tiny: Checkpoint) -> None:
    system = understand.System(SYSTEM)
    cache = system.read(tiny.model)
    before, length = torch.stack(cache.keys), cache.length
    state = understand.begin(
        tiny.model,
        system=system,
        latents=LATENTS,
        suffix=SUFFIX,
        decoding=understand.Decoding(eos=-1, max_new_tokens=2),
        generator=torch.Generator(),
        spans=Spans(CPU),
    )
    understand.advance(tiny.model, [state], Spans(CPU))
    assert system.read(tiny.model) is cache
    assert torch.equal(torch.stack(cache.keys), before)
    assert cache.length == length


@torch.inference_mode()
def reference_logits(model: Showo2, ids: list[int]) -> torch.Tensor:
    """Scores of the token after a causal sequence, all of it computed anew."""
    return reference.answer_logits(model, model.embed(ids), (0, 0))[0, -1]


@pytest.mark.parametrize("placement", ["image", "time"])
def test_a_question_without_a_picture_is_read_as_the_reference_reads_it(
    tiny: Checkpoint, placement: Literal["image", "time"]
) -> None:
    model = Showo2(replace(tiny.model.config, understanding_block=placement)).eval()
    model.load_state_dict(tiny.model.state_dict())
    system = understand.System(SYSTEM[:-1], picture=False)
    state = understand.begin(
        model,
        system=system,
        latents=None,
        suffix=SUFFIX[1:],
        decoding=understand.Decoding(eos=-1, max_new_tokens=8),
        generator=torch.Generator(),
        spans=Spans(CPU),
    )
    requested = SYSTEM[:-1] + SUFFIX[1:]
    assert state.prompt_tokens == len(requested)
    while True:
        expected = reference_logits(model, requested + state.tokens[:-1])
        assert (state.logits - expected).abs().max() < 1e-4
        assert state.tokens[-1] == int(expected.argmax())
        if state.done:
            break
        understand.advance(model, [state], Spans(CPU))
    assert (state.counts["visual_tokens_kept"], state.counts["visual_tokens_pruned"]) == (0, 0)
