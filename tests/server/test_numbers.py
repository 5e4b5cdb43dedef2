"""Numbers that are none, or too large: refused before the worker hears of them, in JSON and in forms."""

from __future__ import annotations

import base64
import io
import json
from typing import Any

import pytest
from PIL import Image

ODD = ["NaN", "Infinity", "-Infinity", "1e999", "-1e999", "-1", "9223372036854775808", "1" + "0" * 400, "true", "false"]
ODD += ["null1", '"1"', "[1]", "{}", "1.5e3x", "0x10", "1_000", "+1"]
GENERATE = ["n", "num_inference_steps", "guidance_scale", "seed", "output_compression", "timeout_s"]
VQA = ["max_new_tokens", "temperature", "top_p", "seed", "timeout_s"]
# Large or negative, but what the field means by a number.
FITS = {("priority", "-1")}


def _picture() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (20, 10)).save(file, "PNG")
    return file.getvalue()


def check(response: Any, shared: Any, before: int) -> None:
    assert response.status_code == 400, response.text
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["type"] == "invalid_request_error"
    assert len(shared.engine.seen) == before


@pytest.mark.parametrize("number", ODD)
@pytest.mark.parametrize("name", [*GENERATE, "priority"])
def test_generate(name: str, number: str, shared: Any) -> None:
    if (name, number) in FITS:
        return
    before = len(shared.engine.seen)
    body = f'{{"prompt": "a", "{name}": {number}}}'
    response = shared.client.post("/v1/generate", content=body, headers={"content-type": "application/json"})
    check(response, shared, before)


@pytest.mark.parametrize("number", ODD)
def test_parameters_of_a_policy(number: str, shared: Any) -> None:
    if number in ("-1", "9223372036854775808"):  # a number: whether it fits is the engine's to say
        return
    before = len(shared.engine.seen)
    body = f'{{"prompt": "a", "acceleration": {{"skip_ratio": {number}}}}}'
    response = shared.client.post("/v1/generate", content=body, headers={"content-type": "application/json"})
    check(response, shared, before)


@pytest.mark.parametrize("number", ODD)
@pytest.mark.parametrize("name", VQA)
def test_vqa(name: str, number: str, shared: Any) -> None:
    before = len(shared.engine.seen)
    image = json.dumps(base64.b64encode(_picture()).decode())
    body = f'{{"question": "a", "image": {image}, "{name}": {number}}}'
    response = shared.client.post("/v1/vqa", content=body, headers={"content-type": "application/json"})
    check(response, shared, before)


@pytest.mark.parametrize("number", [text for text in ODD if text not in ("1_000", "+1")])
@pytest.mark.parametrize("name", VQA)
def test_vqa_as_a_form(name: str, number: str, shared: Any) -> None:
    before = len(shared.engine.seen)
    form = {"question": "a", name: number}
    response = shared.client.post("/v1/vqa", data=form, files={"image": ("a.png", _picture(), "image/png")})
    check(response, shared, before)
