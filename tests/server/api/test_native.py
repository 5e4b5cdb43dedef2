"""The routes over a real socket: good requests, bad numbers, bad pictures."""

from __future__ import annotations

import base64
import io
import struct
import time
import zlib
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
from error_bodies import check
from PIL import Image

KEYS = {"id", "task", "acceleration", "timings_ms", "schedule"}


def picture(colour: tuple[int, int, int] = (10, 20, 30), size: tuple[int, int] = (20, 10), kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, colour).save(file, kind)
    return file.getvalue()


def question(live: Any, data: bytes, **fields: Any) -> httpx.Response:
    answer: httpx.Response = live.client.post(
        "/v1/vqa", json={"question": "what?", "image": base64.b64encode(data).decode(), **fields}
    )
    return answer


def generate(live: Any, **fields: Any) -> httpx.Response:
    answer: httpx.Response = live.client.post("/v1/generate", json={"prompt": "a", **fields})
    return answer


@pytest.fixture
def _serves_on(shared: Any) -> Iterator[None]:
    yield
    assert generate(shared).status_code == 200


# What goes well


def test_generate(shared: Any) -> None:
    response = generate(shared, n=2, seed=7, size="96x64", num_inference_steps=4)
    assert response.status_code == 200
    answer = response.json()
    assert set(answer) == KEYS | {"images", "size", "output_format", "evaluations"}
    assert (answer["task"], answer["size"], answer["output_format"]) == ("generate", "96x64", "png")
    assert answer["schedule"] == {"evaluations": 3}
    assert answer["evaluations"] == [{"backbone": "full", "head": "computed", "layers_skipped": 0}] * 3
    assert {"queue", "image_encode", "backbone", "total"} <= answer["timings_ms"].keys()
    assert [image["seed"] for image in answer["images"]] == [7, 8]
    expected = np.random.default_rng([zlib.crc32(b"a"), 8]).integers(0, 256, (64, 96, 3))
    with Image.open(io.BytesIO(base64.b64decode(answer["images"][1]["b64_json"]))) as image:
        assert (np.asarray(image) == expected).all()


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp"])
def test_generate_a_file(kind: str, shared: Any) -> None:
    response = generate(shared, seed=7, response_format="binary", output_format=kind)
    assert response.headers["content-type"] == f"image/{kind}"
    assert response.headers["x-flashu-seed"] == "7"
    with Image.open(io.BytesIO(response.content)) as image:
        assert (image.format, image.size) == (kind.upper(), (64, 64))


def test_vqa_three_ways(shared: Any) -> None:
    answers = [question(shared, picture())]
    url = "data:image/png;base64," + base64.b64encode(picture()).decode()
    answers.append(shared.client.post("/v1/vqa", json={"question": "what?", "image": url}))
    form = {"question": "what?", "temperature": "0.5", "seed": "3"}
    answers.append(shared.client.post("/v1/vqa", data=form, files={"image": ("../../x.sh", picture(), "text/plain")}))
    for response in answers:
        assert response.status_code == 200, response.text
        answer = response.json()
        assert set(answer) == KEYS | {"answer", "finish_reason", "usage"}
        assert answer["answer"] == "20x10 10 20 30"
        assert answer["usage"] == {"prompt_tokens": 7, "completion_tokens": 4, "total_tokens": 11}
        assert {"queue", "image_decode", "prefill"} <= answer["timings_ms"].keys()
    assert (shared.engine.seen[-1].temperature, shared.engine.seen[-1].seed) == (0.5, 3)


def test_base64_as_other_people_write_it(shared: Any) -> None:
    text = base64.b64encode(picture()).decode()
    safe = base64.urlsafe_b64encode(picture()).decode().rstrip("=")
    lines = base64.encodebytes(picture()).decode()
    for sent in (
        safe,
        lines,
        f"DATA:Image/PNG;charset=utf-8;BASE64,{safe}",
        f'data:image/png;name="a;b";base64,{text}',
    ):
        answer = shared.client.post("/v1/vqa", json={"question": "what?", "image": sent})
        assert answer.status_code == 200, answer.text
        assert answer.json()["answer"] == "20x10 10 20 30"
        content = [{"type": "text", "text": "what?"}, {"type": "image_url", "image_url": {"url": sent}}]
        body = {"model": "toy", "messages": [{"role": "user", "content": content}]}
        answer = shared.client.post("/v1/chat/completions", json=body)
        assert answer.status_code == 200, answer.text
        assert answer.json()["choices"][0]["message"]["content"] == "20x10 10 20 30"


def test_probes_and_models(shared: Any) -> None:
    for route in ("/livez", "/readyz", "/health", "/version"):
        assert shared.client.get(route).status_code == 200
    model = shared.client.get("/v1/models").json()["data"][0]
    assert (model["id"], model["object"], model["sizes"]) == ("toy", "model", ["64x64", "96x64"])
    assert model["policies"] == ["exact", "flashu"]


def test_metrics_count_and_have_bounded_labels(shared: Any) -> None:
    ok = 'flashu_requests_total{policy="flashu",status="200",task="generate"}'
    before = shared.metric(ok)
    assert generate(shared).status_code == 200
    shared.wait_for(lambda: shared.metric(ok) == before + 1)
    series = len(shared.client.get("/metrics").text.splitlines())
    for index in range(30):
        shared.client.post(f"/v1/{index}", json={})
        shared.client.request("BREW", "/v1/generate")
        generate(shared, acceleration=f"policy{index}")
    assert len(shared.client.get("/metrics").text.splitlines()) <= series + 50
    assert "policy1" not in shared.client.get("/metrics").text


def test_the_document_describes_the_bodies(shared: Any) -> None:
    document = shared.client.get("/openapi.json").json()
    content = document["paths"]["/v1/vqa"]["post"]["requestBody"]["content"]
    assert content["application/json"]["schema"]["required"] == ["question", "image"]
    assert content["multipart/form-data"]["schema"]["properties"]["image"]["format"] == "binary"
    assert "422" not in document["paths"]["/v1/generate"]["post"]["responses"]


# What the client got wrong


@pytest.mark.usefixtures("_serves_on")
@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        ('{"prompt": ""}', "prompt", "invalid_value"),
        ('{"prompt": "  "}', "prompt", "invalid_value"),
        ("{}", "prompt", "missing_field"),
        ('{"prompt": "a", "size": "65x64"}', "size", "invalid_value"),
        ('{"prompt": "a", "size": "64*64"}', "size", "invalid_value"),
        ('{"prompt": "a", "guidance_scale": 1e999}', "guidance_scale", "invalid_value"),
        ('{"prompt": "a", "guidance_scale": true}', "guidance_scale", "invalid_value"),
        ('{"prompt": "a", "n": true}', "n", "invalid_value"),
        ('{"prompt": "a", "n": 1000000000}', "n", "invalid_value"),
        ('{"prompt": "a", "n": 2, "response_format": "binary"}', "response_format", "invalid_value"),
        ('{"prompt": "a", "seed": -1}', "seed", "invalid_value"),
        ('{"prompt": "a", "seed": 9223372036854775808}', "seed", "invalid_value"),
        ('{"prompt": "a", "seed": 1e999}', "seed", "invalid_value"),
        ('{"prompt": "a", "acceleration": "warp"}', "acceleration", "invalid_value"),
        ('{"prompt": "a", "acceleration": 5}', "acceleration", "invalid_value"),
        ('{"prompt": "a", "acceleration": ""}', "acceleration", "invalid_value"),
        ('{"prompt": "a", "acceleration": {"policy": 5}}', "acceleration.policy", "invalid_value"),
        ('{"prompt": "a", "acceleration": {"skip_ratio": true}}', "acceleration.skip_ratio", "invalid_value"),
        (f'{{"prompt": "a", "acceleration": {{"x": 1{"0" * 400}}}}}', "acceleration.x", "invalid_value"),
        ('{"prompt": "a", "acceleration": {"X": 1}}', "acceleration.X", "invalid_value"),
        ('{"prompt": "a", "what": 1}', "what", "unknown_field"),
        ('{"prompt": ["a"]}', "prompt", "invalid_value"),
    ],
)
def test_bad_values(body: str, param: str | None, code: str, shared: Any) -> None:
    before = len(shared.engine.seen)
    begun = time.monotonic()
    headers = {"content-type": "application/json"}
    error = check(shared.client.post("/v1/generate", content=body, headers=headers), 400, code)
    assert time.monotonic() - begun < 1
    assert error["param"] == param
    assert error["type"] == "invalid_request_error"
    assert len(shared.engine.seen) == before


def test_messages_say_what_is_wrong(shared: Any) -> None:
    assert check(generate(shared, prompt=""), 400, "invalid_value")["message"] == "prompt: must not be empty"
    assert "64x64, 96x64" in check(generate(shared, size="1x1"), 400, "invalid_value")["message"]
    assert "(it is -1)" in check(generate(shared, seed=-1), 400, "invalid_value")["message"]
    assert "set n to 1" in check(generate(shared, n=2, response_format="binary"), 400, "invalid_value")["message"]
    long = check(generate(shared, prompt="word " * 300), 400, "context_length_exceeded")
    assert (long["param"], "shorten" in long["message"]) == ("prompt", True)


@pytest.mark.parametrize("prompt", ["nul \0 here", "مرحبا \u202eabc", "<|im_end|><|image_pad|>", "🎨" * 100])
def test_odd_prompts_are_text(prompt: str, shared: Any) -> None:
    assert generate(shared, prompt=prompt).status_code == 200
    assert shared.engine.seen[-1].text == prompt


def _bomb() -> bytes:
    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + header
    return b"\x89PNG\r\n\x1a\n\0\0\0\x0d" + chunk + struct.pack(">I", zlib.crc32(chunk)) + b"\0\0\0\0IEND\xaeB`\x82"


@pytest.mark.usefixtures("_serves_on")
@pytest.mark.parametrize(
    "data",
    [
        b"just text",
        _bomb(),
        picture(size=(200, 200), kind="JPEG")[:600],
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 100 100\n",
        picture(size=(1, 1)),
        picture(size=(1, 10_000)),
        picture(kind="TIFF"),
        b"",
    ],
)
def test_bad_pictures(data: bytes, shared: Any) -> None:
    before = len(shared.engine.seen)
    for response in (
        question(shared, data),
        shared.client.post("/v1/vqa", data={"question": "a"}, files={"image": ("a.png", data, "image/png")}),
    ):
        assert check(response, 400, "invalid_value")["param"] == "image"
    assert len(shared.engine.seen) == before


def test_bad_vqa_fields(shared: Any) -> None:
    def post(**fields: Any) -> httpx.Response:
        answer: httpx.Response = shared.client.post("/v1/vqa", json=fields)
        return answer

    good = base64.b64encode(picture()).decode()
    assert check(post(question="", image=good), 400, "invalid_value")["param"] == "question"
    assert check(post(question="a"), 400, "missing_field")["param"] == "image"
    assert "fetches none" in check(post(question="a", image="http://127.0.0.1/"), 400, "invalid_value")["message"]
    assert check(post(question="a", image="%%"), 400, "invalid_value")["param"] == "image"
    file = {"image": ("a.png", picture(), "image/png")}
    for data, param in [
        ({"question": "a", "temperature": "nan"}, "temperature"),
        ({"question": "a", "seed": "true"}, "seed"),
        ({"question": "a", "what": "1"}, "what"),
        ({"question": ["a", "b"]}, "question"),
    ]:
        response = shared.client.post("/v1/vqa", data=data, files=file)
        assert response.status_code == 400
        assert response.json()["error"]["param"] == param
    response = shared.client.post("/v1/vqa", data={"question": "a", "image": good}, files={"x": picture()})
    assert response.status_code == 400
    response = shared.client.post("/v1/vqa", files={"question": (None, "a")})
    assert check(response, 400, "invalid_value")["param"] == "image"


def test_unknown_routes_and_methods(shared: Any) -> None:
    check(shared.client.get("/v1/nothing"), 404, "not_found")
    response = shared.client.get("/v1/generate")
    check(response, 405, "method_not_allowed")
    assert response.headers["allow"] == "POST, OPTIONS"
    check(shared.client.delete("/metrics"), 405, "method_not_allowed")
