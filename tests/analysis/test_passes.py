from __future__ import annotations

import pytest
import torch

from flashu_core import Engine, GenerateRequest
from flashu_core.analysis.passes import LayerPass, watch_layers
from flashu_core.checkpoint.load import Checkpoint


def test_every_layer_of_every_pass_is_seen_in_order(tiny: Checkpoint, tiny_engine: Engine) -> None:
    seen: list[LayerPass] = []
    with watch_layers(tiny.model, seen.append):
        tiny_engine.generate(GenerateRequest(prompt="a", seed=0, num_inference_steps=3, acceleration="exact"))
    layers = tiny.model.config.backbone.layers
    # The prompt, the unconditional prompt, two denoising steps of both branches together.
    assert [one.index for one in seen] == list(range(layers)) * 4
    assert [one.is_prefix for one in seen[::layers]] == [True, True, False, False]
    assert [tuple(one.after.shape[:2]) for one in seen[2 * layers :: layers]] == [(2, 17), (2, 17)]
    assert torch.equal(seen[1].before, seen[0].after)


def test_nothing_is_left_behind(tiny: Checkpoint, tiny_engine: Engine) -> None:
    seen: list[LayerPass] = []
    with pytest.raises(KeyError), watch_layers(tiny.model, seen.append):
        raise KeyError
    tiny_engine.generate(GenerateRequest(prompt="a", seed=0, num_inference_steps=2, acceleration="exact"))
    assert not seen
