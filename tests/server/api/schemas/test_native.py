"""The bodies' names, types and ranges."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from server.api.schemas.native import GenerateBody, VqaFields
from server.api.schemas.openai import ChatBody
from server.errors import InvalidFieldError

BAD_GENERATE = [
    {},
    {"prompt": ""},
    {"prompt": " \n"},
    {"prompt": None},
    {"prompt": "x" * 40_000},
    {"prompt": "a\ud800"},
    {"prompt": "a", "n": 0},
    {"prompt": "a", "n": 9},
    {"prompt": "a", "n": True},
    {"prompt": "a", "n": 1.5},
    {"prompt": "a", "n": "1"},
    {"prompt": "a", "n": 10**9},
    {"prompt": "a", "seed": -1},
    {"prompt": "a", "seed": 2**63},
    {"prompt": "a", "size": "64"},
    {"prompt": "a", "size": "64x"},
    {"prompt": "a", "size": "064x64"},
    {"prompt": "a", "size": "64x64\n"},
    {"prompt": "a", "num_inference_steps": 1},
    {"prompt": "a", "num_inference_steps": 1001},
    {"prompt": "a", "guidance_scale": float("nan")},
    {"prompt": "a", "guidance_scale": float("inf")},
    {"prompt": "a", "guidance_scale": -0.1},
    {"prompt": "a", "guidance_scale": True},
    {"prompt": "a", "output_format": "gif"},
    {"prompt": "a", "output_compression": 101},
    {"prompt": "a", "response_format": "binary", "n": 2},
    {"prompt": "a", "priority": 101},
    {"prompt": "a", "timeout_s": 0},
    {"prompt": "a", "timeout_s": float("nan")},
    {"prompt": "a", "acceleration": ""},
    {"prompt": "a", "acceleration": {"ffn_ratio": "0.2"}},
    {"prompt": "a", "acceleration": {"ffn_ratio": float("nan")}},
    {"prompt": "a", "acceleration": {"ffn_ratio": True}},
    {"prompt": "a", "acceleration": {"FFN": 0.2}},
    {"prompt": "a", "acceleration": {"policy": ""}},
    {"prompt": "a", "acceleration": ["flashu"]},
    {"prompt": "a", "steps": 3},
]


@pytest.mark.parametrize("body", BAD_GENERATE)
def test_out_of_range_is_refused(body: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        GenerateBody.model_validate(body)


def test_everything_reaches_the_request() -> None:
    body = GenerateBody.model_validate(
        {
            "prompt": "a",
            "negative_prompt": "b",
            "n": 3,
            "size": "96x64",
            "num_inference_steps": 7,
            "guidance_scale": 2,
            "seed": 2**63 - 1,
            "acceleration": "flashu",
            "priority": -5,
        }
    )
    request = body.generate_request(12.5, "exact")
    assert (request.prompt, request.negative_prompt, request.num_images, request.num_inference_steps) == (
        "a",
        "b",
        3,
        7,
    )
    assert (request.width, request.height, request.guidance_scale, request.seed) == (96, 64, 2.0, 2**63 - 1)
    assert (request.acceleration, request.priority, request.deadline) == ("flashu", -5, 12.5)


def test_a_form_has_strings_for_numbers_and_the_same_ranges() -> None:
    fields = VqaFields.model_validate_strings({"question": "a", "seed": "5", "temperature": "0.5"})
    assert (fields.seed, fields.temperature) == (5, 0.5)
    for name, value in [("seed", "True"), ("seed", "-1"), ("temperature", "nan"), ("top_p", "0"), ("what", "1")]:
        with pytest.raises(ValidationError):
            VqaFields.model_validate_strings({"question": "a", name: value})


@pytest.mark.parametrize(
    ("acceleration", "applied"),
    [
        (None, ("flashu", {})),
        ("exact", ("exact", {})),
        ({}, ("flashu", {})),
        ({"policy": "exact", "skip_ratio": 0.25}, ("exact", {"skip_ratio": 0.25})),
        ({"head_interval": 3}, ("flashu", {"head_interval": 3})),
    ],
)
def test_acceleration_is_a_name_or_parameters(acceleration: object, applied: tuple[str, dict[str, float]]) -> None:
    body = GenerateBody.model_validate({"prompt": "a", "acceleration": acceleration})
    request = body.generate_request(1.0, "flashu")
    assert (request.acceleration, request.overrides) == applied


TURN = {"role": "user", "content": "a"}


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"messages": 5}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": [5]}, "messages.0"),
        ({"messages": [{"role": "cook"}]}, "messages.0.role"),
        ({"messages": [{"content": "a"}]}, "messages.0.role"),
        ({"messages": [TURN, {"role": "user"}]}, "messages.1.content"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages.0.content"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages.0.content.0.text"),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": 5}]}]}, "messages.0.content.0.text"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]},
            "messages.0.content.0.image_url.url",
        ),
        ({"messages": [TURN], "stop": 5}, "stop"),
        ({"messages": [TURN], "stop": ["a", ""]}, "stop.1"),
        ({"messages": [TURN], "acceleration": {"policy": ""}}, "acceleration.policy"),
        ({"messages": [TURN], "acceleration": 5}, "acceleration"),
        ({"messages": [TURN], "stream_options": {"include_usage": 1}}, "stream_options.include_usage"),
        ({"messages": [TURN], "max_tokens": 5, "max_completion_tokens": 6}, "max_completion_tokens"),
    ],
)
def test_errors_name_fields_and_no_alternatives(body: dict[str, object], param: str | None) -> None:
    sent = {"model": "a", **body}
    with pytest.raises(ValidationError) as caught:
        ChatBody.model_validate(sent)
    error = InvalidFieldError(caught.value, sent)
    assert error.param == param
    assert str(error).startswith(f"{param}: ")
