from __future__ import annotations

import pytest
import torch

from flashu_core import Engine, EngineConfig, GenerateRequest, UnderstandRequest
from flashu_core.analysis.similarity import mean_similarity, similarities
from flashu_core.analysis.study import Study
from flashu_core.checkpoint.load import Checkpoint
from flashu_core.model.pass_options import PassOptions


def test_a_layer_that_changes_nothing_is_similar(own_tiny: Checkpoint) -> None:
    layer = own_tiny.model.backbone.layers[2]
    layer.self_attn.o_proj.weight.zero_()  # type: ignore[union-attr, operator]
    layer.mlp.down_proj.weight.zero_()  # type: ignore[union-attr, operator]
    engine = Engine(own_tiny, EngineConfig())
    with similarities(own_tiny.model, "generate") as cosines:
        image = engine.generate(GenerateRequest(prompt="a", seed=0, acceleration="exact")).images[0]
    found = cosines()
    assert found.shape == (4, 7)
    assert found[2].tolist() == pytest.approx([1.0] * 7)
    assert (found[[0, 1, 3]] < 0.999).all()
    with similarities(own_tiny.model, "vqa") as cosines:
        answer = engine.understand(
            UnderstandRequest(question="what?", image=image, max_new_tokens=5, acceleration="exact")
        )
    found = cosines()
    # One for each token that was drawn, the end token among them.
    assert found.shape == (4, answer.completion_tokens + (answer.finish_reason == "stop"))
    assert found[2].tolist() == pytest.approx([1.0] * found.shape[1])


def test_it_is_what_the_engine_measures(tiny: Checkpoint) -> None:
    """The trace of the same passes has the same means over rows."""
    model = tiny.model
    cache = model.backbone_cache(2, 40)
    tokens = torch.randn(2, 17, 64, generator=torch.Generator().manual_seed(0))
    for task, measured in (("generate", slice(0, 17)), ("vqa", slice(-1, None))):
        with similarities(model, task) as cosines, torch.inference_mode():  # type: ignore[arg-type]
            _, trace = model.run_backbone(tokens, [cache], block=17, options=PassOptions(measured=measured))
        assert cosines()[:, 0].tolist() == pytest.approx([float(one.mean()) for one in trace.similarity])


def test_requests_of_different_lengths_are_averaged() -> None:
    found = mean_similarity("vqa", [torch.tensor([[0.5, 0.25]]), torch.tensor([[1.0, 0.75, -0.5]])])
    assert found.cosine == [[0.75, 0.5, -0.5]]
    assert found.requests == [2, 2, 1]


def test_all_requests_are_in_the_figures(studied: Study) -> None:
    assert studied.generation.requests == [2] * 7
    assert studied.answering.requests[0] == 40
    assert len(studied.answering.requests) <= 3
    assert len(studied.generation.cosine) == len(studied.answering.cosine) == 4
