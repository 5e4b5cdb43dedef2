from __future__ import annotations

import numpy as np
import pytest

from flashu_core import GenerateResult, UnderstandResult
from flashu_core.acceleration.calibration import Sample
from flashu_core.analysis.components import components, timed_requests
from flashu_core.types import GenerateRequest

IMAGE = np.zeros((8, 8, 3), np.uint8)


def generated(policy: str, backbone: float, total: float) -> GenerateResult:
    return GenerateResult(
        images=(IMAGE,),
        seeds=(0,),
        num_inference_steps=4,
        guidance_scale=2.0,
        acceleration=policy,
        schedule={"backbone_passes": 3},
        steps=(),
        prompt_tokens=3,
        timings={"tokenize": 1.0, "prefix": 2.0, "backbone": backbone, "total": total},
    )


def answered(tokens: int) -> UnderstandResult:
    return UnderstandResult(
        answer="",
        finish_reason="stop",
        prompt_tokens=3,
        completion_tokens=tokens,
        acceleration="exact",
        schedule={"prefills": 1},
        timings={"tokenize": 1.0, "prefill": 4.0, "decode": 5.0, "time_to_first_token": 6.0, "total": 12.0},
    )


def test_means_by_task_and_policy() -> None:
    found = components(
        [generated("exact", 10, 15), generated("flashu", 5, 6), answered(2), answered(5), generated("exact", 20, 25)]
    )
    assert [(one.task, one.policy, one.requests) for one in found] == [
        ("generate", "exact", 2),
        ("generate", "flashu", 1),
        ("vqa", "exact", 2),
    ]
    exact, flashu, answer = found
    # What the total holds beyond prefix and backbone is no component's; tokenizing is before it.
    assert exact.milliseconds == {"tokenize": 1.0, "prefix": 2.0, "backbone": 15.0, "other": 3.0}
    assert exact.total == pytest.approx(21.0)
    assert exact.tokens is None and exact.schedule == {"backbone_passes": 3.0}
    # Spans of several events may add up to more than the whole by rounding.
    assert flashu.milliseconds["other"] == 0.0
    assert answer.milliseconds == {"tokenize": 1.0, "prefill": 4.0, "decode": 5.0, "other": 3.0}
    assert answer.tokens == 3.5


def test_policies_take_turns_over_the_same_work() -> None:
    requests = timed_requests(["a", "b"], [Sample(IMAGE, "what?")], max_new_tokens=7, runs=2)
    assert [one.acceleration for one in requests] == ["exact", "flashu"] * 6
    pictures = [one for one in requests if isinstance(one, GenerateRequest)]
    assert [(one.prompt, one.seed) for one in pictures[:4]] == [("a", 0), ("a", 0), ("b", 1), ("b", 1)]
    assert len(pictures) == 8
