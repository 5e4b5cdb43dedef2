from __future__ import annotations

import math

import pytest

from flashu_core.acceleration.plan import make_schedule
from flashu_core.acceleration.policies import (
    POLICIES,
    GenerationPolicy,
    UnderstandingPolicy,
    find_policy,
    override,
    with_own,
)
from flashu_core.errors import ConfigurationError, InvalidRequestError


def test_a_share_of_points_stays_within_the_limit_of_requests() -> None:
    assert GenerationPolicy(points=10.0).inference_steps_of(1000) == 1000
    assert GenerationPolicy(points=0.01).inference_steps_of(2) == 2


def test_exact_changes_nothing() -> None:
    assert POLICIES["exact"].generate.techniques == ()
    assert POLICIES["exact"].vqa.techniques == ()
    assert POLICIES["exact"].generate.points == 1.0


def test_an_unknown_policy_is_refused_with_those_there_are() -> None:
    with pytest.raises(InvalidRequestError, match="exact, flashu, flashu-quality, flashu-fast"):
        find_policy("fast", POLICIES)


def test_overrides_change_single_parameters() -> None:
    changed = override(POLICIES["flashu"].generate, {"ffn_ratio": 0.0, "head_interval": 2.0})
    assert (changed.ffn_ratio, changed.head_interval) == (0.0, 2)
    assert isinstance(changed.head_interval, int)
    assert changed.skip_ratio == POLICIES["flashu"].generate.skip_ratio
    assert len(changed.techniques) == len(POLICIES["flashu"].generate.techniques) - 1
    assert override(POLICIES["exact"].vqa, {"token_ratio": 0.25}).techniques != ()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"ffn_ratio": 0.95}, "from 0 to 0.9"),
        ({"skip_ratio": -0.1}, "from 0 to 0.9"),
        ({"ffn_ratio": math.nan}, "from 0 to 0.9"),
        ({"head_interval": 0}, "from 1 to"),
        ({"skip_interval": 2.5}, "whole number"),
        ({"head_interval": math.inf}, "whole number"),
        ({"hybrid_threshold": 1.5}, "from 0 to 1"),
        ({"low_guidance": math.inf}, "low_guidance"),
        ({"low_guidance": 10**400}, "low_guidance is larger than any number"),
        ({"head_interval": -(10**400)}, "head_interval is smaller than any number"),
        ({"head_interval": 1e308}, r"head_interval is 1e\+308; it must be from 1 to"),
        ({"token_ratio": 0.5}, "no parameter 'token_ratio'"),
        ({"ffn_ratio": "0.2"}, "must be a number"),
        ({"ffn_ratio": True}, "must be a number"),
    ],
)
def test_what_cannot_be_used_is_refused(overrides: dict[str, float], message: str) -> None:
    with pytest.raises(InvalidRequestError, match=message) as caught:
        override(GenerationPolicy(), overrides)
    assert caught.value.parameter == "acceleration"


def test_each_task_has_its_own_parameters() -> None:
    with pytest.raises(InvalidRequestError, match="head_interval"):
        override(UnderstandingPolicy(), {"head_interval": 5})


def test_a_checkpoint_has_parameters_of_its_own() -> None:
    found = with_own({"flashu": {"generate": {"skip_ratio": 0.1}}})
    assert found["flashu"].generate == override(POLICIES["flashu"].generate, {"skip_ratio": 0.1})
    assert found["flashu"].vqa == POLICIES["flashu"].vqa
    assert found["exact"] == POLICIES["exact"]
    assert with_own({}) == POLICIES


def test_variants_take_what_a_checkpoint_says_of_flashu_but_for_what_they_change() -> None:
    fast = POLICIES["flashu-fast"].generate
    found = with_own(
        {
            "flashu": {"generate": {"skip_ratio": 0.1, "head_interval": 4}, "vqa": {"token_ratio": 0.0}},
            "flashu-fast": {"vqa": {"ffn_ratio": 0.3}},
        }
    )
    assert found["flashu-fast"].generate == override(fast, {"skip_ratio": 0.1})
    assert found["flashu-quality"].generate.head_interval == POLICIES["flashu-quality"].generate.head_interval
    assert found["flashu-quality"].vqa.token_ratio == found["flashu-fast"].vqa.token_ratio == 0.0
    assert found["flashu-fast"].vqa.ffn_ratio == 0.3


def test_variants_cost_what_their_names_say() -> None:
    """By what their schedules run, whatever a checkpoint's size."""
    runs = {}
    for name, policy in POLICIES.items():
        num_inference_steps = round(50 * policy.generate.points)
        plans = make_schedule(policy.generate.techniques, num_inference_steps=num_inference_steps, guidance_scale=5.0)
        runs[name] = sum(plan.run_backbone for plan in plans)
    assert runs["flashu-fast"] < runs["flashu"] < runs["flashu-quality"] < runs["exact"]


@pytest.mark.parametrize(
    "own",
    [{"warp": {}}, {"flashu": {"draw": {}}}, {"flashu": {"vqa": {"warp": 1}}}, {"flashu": {"vqa": {"ffn_ratio": 2}}}],
)
def test_a_checkpoints_unusable_parameters_are_refused(own: dict[str, dict[str, dict[str, float]]]) -> None:
    with pytest.raises(ConfigurationError):
        with_own(own)
