"""NaN, Inf and numbers out of range: refused before the worker receives them, in JSON and in forms."""

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


@pytest.mark.parametrize(
    "fields",
    [
        {"temperature": 5e-324},
        {"temperature": 1e-40},
        {"temperature": 10, "top_p": 1e-300},
        {"temperature": 1e-9, "top_p": 1.0, "seed": 2**63 - 1},
    ],
)
def test_the_ends_of_a_questions_ranges_harm_nobody(fields: dict[str, Any], real: Any) -> None:
    body = {"question": "what is this?", "image": base64.b64encode(_picture()).decode(), "max_new_tokens": 4}
    pid = real.worker.pid
    likeliest = real.client.post("/v1/vqa", json=body).json()["answer"]
    response = real.client.post("/v1/vqa", json={**body, **fields})
    assert response.status_code == 200, response.text
    assert response.json()["answer"] == likeliest
    assert real.worker.pid == pid


@pytest.mark.parametrize(
    "fields",
    [
        {"guidance_scale": 100},
        {"guidance_scale": 5e-324},
        {"seed": 2**63 - 1, "n": 2},
        {"acceleration": {"policy": "exact", "low_guidance": 5e-324}},
        {"acceleration": {"policy": "exact", "low_guidance": 10, "guidance_threshold": 0}},
        {"acceleration": {"policy": "flashu", "head_interval": 1000, "skip_interval": 1000}},
        {"acceleration": {"policy": "flashu", "ffn_ratio": 0.9, "skip_ratio": 0.9, "hybrid_threshold": 0}},
    ],
)
def test_the_ends_of_a_generations_ranges_harm_no_other_request(fields: dict[str, Any], real: Any) -> None:
    pid = real.worker.pid
    response = real.client.post("/v1/generate", json={"prompt": "a", "num_inference_steps": 4, **fields})
    assert response.status_code == 200, response.text
    assert real.worker.pid == pid


@pytest.mark.parametrize("number", ["1" + "0" * 400, "-1" + "0" * 400, "1e308", "-1e308", "9223372036854775808", "1e9"])
@pytest.mark.parametrize("name", ["ffn_ratio", "head_interval", "points", "low_guidance"])
def test_parameters_of_a_policy_on_the_real_model(name: str, number: str, real: Any) -> None:
    pid = real.worker.pid
    body = f'{{"prompt": "a", "acceleration": {{"policy": "flashu", "{name}": {number}}}}}'
    response = real.client.post("/v1/generate", content=body, headers={"content-type": "application/json"})
    error = response.json()["error"]
    assert (response.status_code, error["param"]) == (400, f"acceleration.{name}")
    assert len(error["message"]) < 200
    assert real.worker.pid == pid
