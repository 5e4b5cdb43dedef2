from __future__ import annotations

import copy
import itertools
import json
from dataclasses import replace

import numpy as np
import pytest

from flashu_core import Engine, EngineConfig, GenerateRequest, UnderstandRequest, UnitCost, UnitCosts
from flashu_core.checkpoint.load import Checkpoint


def test_every_kind_of_unit_is_measured(tiny: Checkpoint) -> None:
    """The clock moves on by a second whenever it is read, so that a unit takes as long as it reads it often."""
    own = replace(tiny, model=copy.deepcopy(tiny.model))
    engine = Engine(own, EngineConfig(calibrated=False), clock=itertools.count(1.0).__next__)
    engine.warm_up()
    costs = engine.costs
    assert costs is not None
    # Reading prompts notes when it began; a prefill also when its first token came.
    assert (costs.prefix.seconds(1), costs.prefill.seconds(1)) == (2.0, 3.0)
    assert costs.decode.seconds(1) >= 1.0
    assert costs.vae_decode.seconds(1) == 2.0
    full = costs.backbone_full.seconds(2) + costs.head_computed.seconds(2)
    assert full == pytest.approx(1.0, abs=0.3)  # the least of each part, of several denoising steps
    assert 0 < costs.head_reused.seconds(2) < 1.0
    assert costs.backbone_not_needed.seconds(2) > 0
    assert costs.backbone_pruned != costs.backbone_full
    assert (costs.num_inference_steps, costs.guidance_scale, costs.pixels) == (8, 5.0, 64 * 64)
    assert UnitCosts.from_json(json.loads(json.dumps(costs.to_json()))) == costs


def test_a_price_is_near_what_a_request_takes(tiny: Checkpoint) -> None:
    """With a second for each reading of the clock a picture alone takes one for each denoising step."""
    own = replace(tiny, model=copy.deepcopy(tiny.model))
    engine = Engine(own, EngineConfig(calibrated=False), clock=itertools.count(1.0).__next__)
    engine.warm_up()
    assert engine.costs is not None
    price = engine.costs.price(GenerateRequest(prompt="a", num_inference_steps=21, acceleration="exact"))
    # The clock of a unit's parts is real: a pause of the machine moves what they add up to.
    assert price == pytest.approx(20 + 2 + 2, abs=1.5)
    picture = np.zeros((8, 8, 3), np.uint8)
    assert (
        engine.costs.price(UnderstandRequest(question="a", image=picture, max_new_tokens=1, acceleration="exact"))
        == 3.0
    )


def test_one_row_is_enough_where_no_more_may_run(tiny: Checkpoint) -> None:
    own = replace(tiny, model=copy.deepcopy(tiny.model))
    engine = Engine(own, EngineConfig(calibrated=False, max_batch=1))
    engine.warm_up()
    assert engine.costs is not None
    assert engine.costs.vae_decode.fixed == 0.0
    assert engine.costs.vae_decode != UnitCost(0.0, 0.0)
