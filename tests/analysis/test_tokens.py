from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
import pytest
import torch

from flashu_core import Engine, EngineConfig, UnderstandRequest
from flashu_core.analysis.passes import LayerPass, watch_layers
from flashu_core.analysis.study import Study
from flashu_core.analysis.tokens import (
    attention_probabilities,
    image_attention,
    image_positions,
    rank_correlation,
    ranks,
    token_layers,
)
from flashu_core.checkpoint.load import Checkpoint
from flashu_core.model.attention import attend, rotate, sdpa
from flashu_core.model.showo2 import Showo2

IMAGE = np.random.default_rng(0).integers(0, 255, (32, 32, 3), dtype=np.uint8)
QUESTION = UnderstandRequest(question="what is it?", image=IMAGE, max_new_tokens=2, acceleration="exact")


@pytest.mark.parametrize("block", [0, 5, 9, 12])
def test_probabilities_are_those_of_torch(block: int) -> None:
    generator = torch.Generator().manual_seed(0)
    query = torch.randn(3, 9, 8, generator=generator)
    keys, values = torch.randn(14, 8, generator=generator), torch.randn(14, 8, generator=generator)
    found = attention_probabilities(query, keys, block=block)
    assert found.sum(dim=-1) == pytest.approx(torch.ones(3, 9))
    expected = attend(query.transpose(0, 1)[None], [keys[None, None]], [values[None, None]], block=block, kernel=sdpa)
    assert (found @ values - expected[0].transpose(0, 1)).abs().max() < 1e-5


@pytest.mark.parametrize("placement", ["image", "time"])
def test_what_image_tokens_receive_is_what_the_layer_computes(
    tiny: Checkpoint, placement: Literal["image", "time"]
) -> None:
    """The mixture the probabilities give is the one the layer's attention gave, and the image tokens are where the
    prefill has them."""
    model = Showo2(replace(tiny.model.config, understanding_block=placement)).requires_grad_(False).eval()
    model.load_state_dict(tiny.model.state_dict())
    engine = Engine(replace(tiny, model=model), EngineConfig())
    images = image_positions(model)
    embedded: list[torch.Tensor] = []
    expected_values: list[tuple[float, float, float]] = []

    def probe(one: LayerPass) -> None:
        """A value that is 1 for one image token and 0 elsewhere lets attention itself tell what that token received."""
        if one.context.block == 0:
            return
        if one.index == 0:
            assert torch.equal(one.before[:, images], embedded[0])
        attention, (cache,) = one.layer.self_attn, one.context.caches
        target, end = cache.length + images.start + 4, cache.length + one.before.shape[1]
        keys, own = cache.keys[one.index][:, :, :end], cache.values[one.index][:, :, :end]
        values = torch.zeros_like(own)
        values[:, :, target] = 1
        query = attention.project(one.layer.input_layernorm(one.before))[0]
        query = rotate(query, one.context.cosine, one.context.sine)
        shares = attend(query, [keys], [values], block=one.context.block, kernel=sdpa)
        expected_values.append(
            (float(shares.mean()), float(shares[:, images.stop :].mean()), float(own[:, :, target].norm()))
        )

    hook = model.vision.register_forward_hook(lambda _, __, features: embedded.append(features))
    with image_attention(model, layers=3) as found, watch_layers(model, probe):
        engine.understand(QUESTION)
    hook.remove()
    assert len(found()) == 3 and len(expected_values) == 4
    for layer, expected in zip(found(), expected_values, strict=False):
        own = (layer.attention[4], layer.from_text[4], layer.norms[4])
        assert [float(value) for value in own] == pytest.approx(expected, rel=1e-4)


def test_ranks_share_ties() -> None:
    assert ranks(torch.tensor([3.0, 1.0, 2.0])).tolist() == [3, 1, 2]
    assert ranks(torch.tensor([5.0, 1.0, 5.0, 7.0, 5.0])).tolist() == [3, 1, 3, 5, 3]


def test_rank_correlation() -> None:
    values = torch.tensor([0.1, 3.0, -2.0, 7.0])
    assert rank_correlation(values, values.exp()) == pytest.approx(1.0)
    assert rank_correlation(values, -(values**3)) == pytest.approx(-1.0)
    # By hand: ranks 1 2 3 4 and 2 1 4 3 differ by 1 each, so 1 - 6 * 4 / (4 * 15).
    assert rank_correlation(torch.tensor([1.0, 2, 3, 4]), torch.tensor([20.0, 10, 40, 30])) == pytest.approx(0.6)
    assert rank_correlation(values, torch.ones(4)) is None


def test_layers_are_put_together_over_pictures(studied: Study) -> None:
    assert [layer.layer for layer in studied.tokens] == [1, 2, 3, 4]
    for layer in studied.tokens:
        assert np.shape(layer.norms) == np.shape(layer.attention) == np.shape(layer.from_text) == (2, 16)
        assert layer.correlation is not None and -1 <= layer.correlation <= 1
        each = [rank_correlation(torch.tensor(one), torch.tensor(other)) for one, other in
                zip(layer.norms, layer.attention, strict=True)]  # fmt: skip
        assert layer.correlation == pytest.approx(sum(value or 0 for value in each) / 2)
    assert token_layers([]) == []
