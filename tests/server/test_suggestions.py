"""The likeliest right name of a field."""

from __future__ import annotations

import pytest

from server.api.schemas.native import GenerateBody, VqaBody
from server.suggestions import likeliest


@pytest.mark.parametrize(
    ("name", "right"),
    [
        ("num_steps", "num_inference_steps"),
        ("numInferenceSteps", "num_inference_steps"),
        ("num-inference-steps", "num_inference_steps"),
        ("Prompt", "prompt"),
        ("promt", "prompt"),
        ("negativePrompt", "negative_prompt"),
        ("cfg_scale", "guidance_scale"),
        ("height", "size"),
        ("outputformat", "output_format"),
        ("zzz", None),
        ("", None),
        ("prompt" * 1000, None),
    ],
)
def test_of_a_picture(name: str, right: str | None) -> None:
    assert likeliest(name, GenerateBody.model_fields) == right


@pytest.mark.parametrize(("name", "right"), [("max_tokens", "max_new_tokens"), ("topP", "top_p"), ("text", None)])
def test_of_a_question(name: str, right: str | None) -> None:
    assert likeliest(name, VqaBody.model_fields) == right
