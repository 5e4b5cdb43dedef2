from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from flashu_core.config import MODELS, WAN_VAE, BackboneConfig, EngineConfig, HeadConfig, VisionConfig
from flashu_core.errors import ConfigurationError
from flashu_core.model.showo2 import Showo2


@pytest.mark.parametrize(("size", "billions"), [("1.5b", 2.83), ("7b", 8.93)])
def test_parameters_of_the_published_sizes(size: str, billions: float) -> None:
    with torch.device("meta"):
        model = Showo2(MODELS[size])
    assert sum(parameter.numel() for parameter in model.parameters()) / 1e9 == pytest.approx(billions, abs=0.006)


def test_hq_generates_two_sizes() -> None:
    assert MODELS["1.5b-hq"].grids == ((32, 32), (64, 64))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"layers": 0}, "backbone.layers is 0"),
        ({"heads": 5}, "5 heads"),
        ({"key_value_heads": 3}, "3 key-value heads"),
        ({"ffn_size": -1}, "ffn_size is -1"),
    ],
)
def test_impossible_backbones_are_refused(change: dict[str, int], named: str) -> None:
    with pytest.raises(ConfigurationError, match=named):
        replace(MODELS["tiny"].backbone, **change)


def test_impossible_parts_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="do not divide"):
        VisionConfig(hidden_size=50, heads=4)
    with pytest.raises(ConfigurationError, match="head"):
        HeadConfig(hidden_size=96, heads=5)
    with pytest.raises(ConfigurationError, match="latents_std"):
        replace(WAN_VAE, latents_std=(0.0,) * 16)
    with pytest.raises(ConfigurationError, match="15 values for 16"):
        replace(WAN_VAE, latents_mean=(0.0,) * 15)
    with pytest.raises(ConfigurationError, match="grids"):
        replace(MODELS["tiny"], grids=())
    with pytest.raises(ConfigurationError, match="understanding_block"):
        replace(MODELS["tiny"], understanding_block="late")
    with pytest.raises(ConfigurationError, match="velocity_layout"):
        replace(MODELS["tiny"], velocity_layout="rows")
    with pytest.raises(ConfigurationError, match="max_batch is 0"):
        EngineConfig(max_batch=0)


def test_configurations_are_values() -> None:
    one, other = (replace(MODELS["1.5b"].backbone) for _ in range(2))
    assert one == other
    assert hash(one) == hash(other)
    assert isinstance(one, BackboneConfig)
