from __future__ import annotations

import pytest
import torch

from flashu_core import Engine, GenerateRequest
from flashu_core.acceleration.calibration import TASKS
from flashu_core.acceleration.neurons import kept
from flashu_core.analysis.specialisation import TokenSample, ffn_inputs, reconstruction_errors, specialisation
from flashu_core.analysis.study import Study
from flashu_core.checkpoint.load import Checkpoint
from flashu_core.model.ffn import GatedFFN
from flashu_core.model.showo2 import Showo2
from flashu_core.types import Task


def random_data(model: Showo2) -> tuple[dict[Task, torch.Tensor], dict[Task, list[torch.Tensor]]]:
    config, generator = model.config.backbone, torch.Generator().manual_seed(1)
    scores: dict[Task, torch.Tensor] = {
        task: torch.rand(config.layers, config.ffn_size, generator=generator) for task in TASKS
    }
    inputs: dict[Task, list[torch.Tensor]] = {
        task: [torch.randn(20, config.hidden_size, generator=generator) for _ in range(config.layers)] for task in TASKS
    }
    return scores, inputs


def test_the_error_is_what_the_pruned_path_loses() -> None:
    torch.manual_seed(0)
    ffn, tokens = GatedFFN(16, 256).requires_grad_(False), torch.randn(30, 16)
    stay = [kept(torch.rand(256), ratio) for ratio in (0.0, 0.25, 0.75)]
    found = reconstruction_errors(ffn, tokens, stay)
    whole = ffn(tokens)
    expected = [float((whole - ffn(tokens, neurons)).norm() / whole.norm()) for neurons in stay]
    assert found[0] == 0.0
    assert found == pytest.approx(expected, abs=1e-6)
    assert 0.1 < found[1] < found[2] < 1.5
    assert reconstruction_errors(ffn, tokens, [torch.tensor([], dtype=torch.long)]) == pytest.approx([1.0])


def test_an_ffn_that_gives_nothing_loses_nothing() -> None:
    ffn = GatedFFN(8, 128).requires_grad_(False)
    ffn.down_proj.weight.zero_()
    assert reconstruction_errors(ffn, torch.randn(3, 8), [torch.arange(64)]) == [0.0]


def test_the_tasks_neurons_are_distinguished() -> None:
    """The first half of the neurons answers to the first input, the second half to the second."""
    torch.manual_seed(0)
    ffn = GatedFFN(2, 128).requires_grad_(False)
    for weight in (ffn.gate_proj.weight, ffn.up_proj.weight):
        weight.zero_()
        weight[:64, 0] = 1
        weight[64:, 1] = 1
    halves = [torch.arange(64), torch.arange(64, 128)]
    assert reconstruction_errors(ffn, torch.tensor([[2.0, 0.0]]), halves) == pytest.approx([0.0, 1.0])
    assert reconstruction_errors(ffn, torch.tensor([[0.0, 2.0]]), halves) == pytest.approx([1.0, 0.0])


def test_nothing_pruned_is_exact_and_shared(tiny: Checkpoint) -> None:
    scores, inputs = random_data(tiny.model)
    found = specialisation(tiny.model, scores, inputs, ratios=(0.0, 0.5))
    assert (found.neurons, found.kept) == (256, (256, 128))
    for data in TASKS:
        for task in TASKS:
            assert found.errors[data][task][0] == [0.0] * 4
            assert min(found.errors[data][task][1]) > 0.1
    assert found.overlap[0] == [1.0] * 4
    expected = [len(set(kept(one, 0.5).tolist()) & set(kept(other, 0.5).tolist())) / 128 for one, other in
                zip(scores["generate"], scores["vqa"], strict=True)]  # fmt: skip
    assert found.overlap[1] == pytest.approx(expected)
    alike = specialisation(tiny.model, dict.fromkeys(TASKS, scores["vqa"]), inputs, ratios=(0.5,))
    assert alike.overlap == [[1.0] * 4]
    assert alike.errors["generate"]["generate"] == alike.errors["generate"]["vqa"]


def test_a_tasks_own_neurons_lose_less(studied: Study) -> None:
    found = studied.specialisation
    for data, other in (("generate", "vqa"), ("vqa", "generate")):
        own, foreign = (torch.tensor(found.errors[data][task]) for task in (data, other))  # type: ignore[index]
        assert own.shape == (len(found.ratios), 4)
        assert (own[1:] >= own[:-1]).all() and (own[-1] > own[0]).all()
        assert own.mean() < foreign.mean()


def test_a_sample_is_of_all_tokens() -> None:
    tokens = torch.arange(1000.0)[:, None].expand(-1, 3)
    few, many = TokenSample(100, 1), TokenSample(5000, 1)
    for piece in tokens.split(37):
        few.add(piece)
        many.add(piece)
    assert torch.equal(many.tokens[:, 0].sort().values, tokens[:, 0])
    numbers = few.tokens[:, 0]
    assert few.tokens.shape == (100, 3) and len(set(numbers.tolist())) == 100
    # The mean of 100 of 0 .. 999 is 499.5, give or take 27.
    assert 370 < numbers.mean() < 630


def test_inputs_are_those_of_the_ffns(tiny: Checkpoint, tiny_engine: Engine) -> None:
    with ffn_inputs(tiny.model, maximum=10_000) as tokens:
        tiny_engine.generate(GenerateRequest(prompt="a", seed=0, num_inference_steps=3, acceleration="exact"))
    found = tokens()
    # Two prompts of three and two tokens, and two denoising steps of two branches of 17.
    prompt = found[0].shape[0] - 2 * 2 * 17
    assert [tuple(layer.shape) for layer in found] == [(prompt + 68, 64)] * 4
    assert prompt in range(4, 8)
    # They are normed: each token's mean square is one, but for the norm's own weights.
    weight = tiny.model.backbone.layers[0].post_attention_layernorm.weight  # type: ignore[union-attr]
    assert (found[0] / weight).square().mean(dim=1) == pytest.approx(torch.ones(prompt + 68), rel=1e-2)
