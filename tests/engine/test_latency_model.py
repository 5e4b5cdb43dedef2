from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flashu_core import ConfigurationError, GenerateRequest, InvalidRequestError, UnderstandRequest, UnitCost, UnitCosts
from flashu_core.acceleration.plan import StepPlan

COSTS = UnitCosts(
    prefix=UnitCost(1.0, 0.5),
    backbone_full=UnitCost(0.0, 4.0),
    backbone_pruned=UnitCost(0.0, 2.0),
    backbone_not_needed=UnitCost(0.25, 0.0),
    head_computed=UnitCost(0.0, 1.0),
    head_reused=UnitCost(0.0, 0.125),
    vae_decode=UnitCost(2.0, 3.0),
    prefill=UnitCost(0.0, 7.0),
    decode=UnitCost(0.5, 0.25),
    num_inference_steps=50,
    guidance_scale=5.0,
    pixels=64 * 64,
    policies={"flashu": {"generate": {"points": 0.2}}},
)
PICTURE = np.zeros((4, 4, 3), np.uint8)


def test_an_exact_picture_is_its_units() -> None:
    assert (
        COSTS.price(GenerateRequest(prompt="a", num_inference_steps=3, acceleration="exact"))
        == 1.5 + 2 * (2 * 4.0 + 2 * 1.0) + 5.0
    )
    assert COSTS.price(GenerateRequest(prompt="a", acceleration="exact")) == 1.5 + 49 * 10.0 + 5.0


def test_a_branch_that_is_not_read_costs_nothing() -> None:
    assert (
        COSTS.price(GenerateRequest(prompt="a", num_inference_steps=3, guidance_scale=1.0, acceleration="exact"))
        == 1.5 + 2 * 5.0 + 5.0
    )


def test_pictures_and_pixels_are_rows() -> None:
    assert (
        COSTS.price(GenerateRequest(prompt="a", num_inference_steps=3, num_images=4, acceleration="exact"))
        == 3.0 + 2 * 40.0 + 14.0
    )
    larger = GenerateRequest(prompt="a", num_inference_steps=3, width=128, height=128, acceleration="exact")
    assert COSTS.price(larger) == 1.5 + 2 * 40.0 + 14.0


def test_an_answer_is_its_prefill_and_its_tokens() -> None:
    assert COSTS.price(UnderstandRequest(question="a", image=PICTURE, max_new_tokens=1, acceleration="exact")) == 7.0
    assert (
        COSTS.price(UnderstandRequest(question="a", image=PICTURE, max_new_tokens=9, acceleration="exact"))
        == 7.0 + 8 * 0.75
    )


def test_denoising_steps_are_priced_by_their_kind() -> None:
    assert COSTS.step(StepPlan(5.0, ffn="pruned"), 1) == 2 * 2.0 + 2 * 1.0
    assert COSTS.step(StepPlan(5.0, head="reuse", run_backbone=False), 3) == 0.25 + 6 * 0.125
    # The unconditional branch runs for a later step that reads it.
    assert COSTS.step(StepPlan(1.0), 1) == 2 * 4.0 + 2 * 1.0


def test_the_checkpoint_s_own_policies_count() -> None:
    flashu = GenerateRequest(prompt="a", acceleration="flashu")
    assert COSTS.price(flashu) == COSTS.price(
        GenerateRequest(prompt="a", acceleration="flashu", num_inference_steps=10)
    )
    assert COSTS.price(flashu) < COSTS.price(GenerateRequest(prompt="a", num_inference_steps=10, acceleration="exact"))


@pytest.mark.parametrize("task", ["generate", "vqa"])
def test_what_no_policy_knows_is_refused(task: str) -> None:
    for changes in ({"acceleration": "warp"}, {"overrides": {"warp": 1.0}}):
        with pytest.raises(InvalidRequestError, match="warp"):
            if task == "generate":
                COSTS.price(GenerateRequest(prompt="a", **changes))  # type: ignore[arg-type]
            else:
                COSTS.price(UnderstandRequest(question="a", image=PICTURE, **changes))  # type: ignore[arg-type]


@settings(deadline=None)
@given(st.integers(2, 200), st.integers(1, 8), st.sampled_from(["exact", "flashu"]))
def test_more_work_is_never_cheaper(num_inference_steps: int, images: int, policy: str) -> None:
    price = COSTS.price(
        GenerateRequest(prompt="a", num_inference_steps=num_inference_steps, num_images=images, acceleration=policy)
    )
    assert (
        0
        < price
        < COSTS.price(
            GenerateRequest(
                prompt="a", num_inference_steps=num_inference_steps, num_images=images, acceleration="exact"
            )
        )
        + 1e-6
    )
    if images < 8:
        assert price < COSTS.price(
            GenerateRequest(
                prompt="a", num_inference_steps=num_inference_steps, num_images=images + 1, acceleration=policy
            )
        )


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from([1, 2, 4, 8]), st.floats(0.0, 100.0, allow_subnormal=False), min_size=1))
def test_a_line_through_what_was_measured(seconds: dict[int, float]) -> None:
    cost = UnitCost.through(seconds)
    few, many = min(seconds), max(seconds)
    assert cost.seconds(few) == pytest.approx(seconds[few])
    if few < many:
        # Measurements are noisy; more rows are never priced below fewer, nor above as many single ones.
        limits = seconds[few], seconds[few] * many / few
        assert cost.seconds(many) == pytest.approx(min(max(seconds[many], limits[0]), limits[1]))


@given(st.floats(0, 1e6, allow_subnormal=False), st.floats(0, 1e6, allow_subnormal=False))
def test_costs_cross_a_boundary_as_json(fixed: float, per_row: float) -> None:
    changed = UnitCosts.from_json({**COSTS.to_json(), "decode": {"fixed": fixed, "per_row": per_row}})
    assert UnitCosts.from_json(json.loads(json.dumps(changed.to_json()))) == changed
    assert changed.decode == UnitCost(fixed, per_row)


@pytest.mark.parametrize("value", [-1.0, math.nan, math.inf])
def test_a_cost_is_a_time(value: float) -> None:
    with pytest.raises(ConfigurationError, match="fixed"):
        UnitCost(value, 0.0)
    with pytest.raises(ConfigurationError, match="per_row"):
        UnitCost(0.0, value)


@pytest.mark.parametrize(
    "changes",
    [{"num_inference_steps": 1}, {"pixels": 0}, {"guidance_scale": math.nan}, {"warp": 1}, {"decode": {"warp": 1}}],
)
def test_something_else_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError, match="costs"):
        UnitCosts.from_json({**COSTS.to_json(), **changes})
