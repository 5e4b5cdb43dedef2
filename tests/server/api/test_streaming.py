"""The native streams, with the embedded model over a real socket: what they say, how they end, and who leaves."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

DONE = {"id", "task", "acceleration", "timings_ms", "schedule"}
LONG = {"prompt": "a red circle", "n": 8, "num_inference_steps": 400, "stream": True}


def events(response: httpx.Response) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each event's name and data; the lines are those of the stream as they come."""
    name = ""
    for line in response.iter_lines():
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield name, json.loads(line.removeprefix("data: "))


def stream(live: Any, route: str, **body: Any) -> list[tuple[str, dict[str, Any]]]:
    with live.client.stream("POST", route, json={"stream": True, **body}) as response:
        assert response.status_code == 200, response.read()
        assert response.headers["content-type"].startswith("text/event-stream")
        return list(events(response))


def pixels(file: str) -> Any:
    with Image.open(io.BytesIO(base64.b64decode(file))) as image:
        return np.asarray(image)


def picture() -> str:
    file = io.BytesIO()
    Image.new("RGB", (64, 64), (200, 20, 20)).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def idle(live: Any) -> bool:
    shown = live.client.get("/health").json()
    return (shown["running"], shown["waiting"]) == (0, 0)


def test_a_picture_event_by_event(real: Any) -> None:
    body = {"prompt": "a red circle", "seed": 3, "num_inference_steps": 9}
    plain = real.client.post("/v1/generate", json=body).json()
    received = stream(real, "/v1/generate", **body, partial_images=3)
    names = [name for name, _ in received]
    # Progress that a busy reader has not taken yet gives way to the next; all other events arrive, in order.
    assert [name for name in names if name != "progress"] == ["partial_image"] * 3 + ["image", "done"]
    progress = [data for name, data in received if name == "progress"]
    steps = [data["evaluation"] for data in progress]
    assert steps == sorted(set(steps)) and steps[-1] == 8
    assert {data["of"] for data in progress} == {8}
    assert progress[0]["eta_s"] is None
    assert all(data["eta_s"] >= 0 for data in progress[1:])
    assert progress[-1]["eta_s"] == 0
    partial = [data for name, data in received if name == "partial_image"]
    assert [data["index"] for data in partial] == [0, 1, 2]
    assert all(pixels(data["b64_json"]).shape == (64, 64, 3) for data in partial)
    (image,) = (data for name, data in received if name == "image")
    assert image == {"index": 0, "seed": 3, "b64_json": plain["images"][0]["b64_json"]}
    done = received[-1][1]
    assert set(done) == DONE | {"size", "output_format", "evaluations"}
    assert done["evaluations"] == plain["evaluations"]
    assert (done["task"], done["acceleration"], done["size"]) == ("generate", "exact", "64x64")
    assert done["schedule"] == {**plain["schedule"], "previews": 3}
    assert set(done["timings_ms"]) == set(plain["timings_ms"]) | {"preview"}


def test_several_pictures_in_one_stream(real: Any) -> None:
    received = stream(real, "/v1/generate", prompt="a", n=2, seed=5, num_inference_steps=3, output_format="jpeg")
    images = [data for name, data in received if name == "image"]
    assert [(data["index"], data["seed"]) for data in images] == [(0, 5), (1, 6)]
    assert not any(name == "partial_image" for name, _ in received)


def test_an_answer_event_by_event(real: Any) -> None:
    body = {"question": "what is this?", "image": picture()}
    plain = real.client.post("/v1/vqa", json=body).json()
    received = stream(real, "/v1/vqa", **body)
    assert [name for name, _ in received] == ["text"] * (len(received) - 1) + ["done"]
    assert "".join(data["text"] for _, data in received[:-1]) == plain["answer"] != ""
    done = received[-1][1]
    assert set(done) == set(plain) == DONE | {"answer", "finish_reason", "usage"}
    for same in ("answer", "finish_reason", "usage", "schedule", "task", "acceleration"):
        assert done[same] == plain[same]


def test_a_form_streams_too(real: Any) -> None:
    files = {"image": ("a.png", base64.b64decode(picture()), "image/png")}
    form = {"question": "what is this?", "stream": "true"}
    with real.client.stream("POST", "/v1/vqa", data=form, files=files) as response:
        assert [name for name, _ in events(response)][-1] == "done"


def test_what_is_wrong_at_once_has_its_own_status(real: Any) -> None:
    for body, status in [
        ({"prompt": "a", "size": "63x64"}, 400),
        ({"prompt": "word " * 5000}, 400),  # the engine's own refusal: too many tokens
        ({"prompt": "a", "partial_images": 4}, 400),
        ({"prompt": "a", "partial_images": 1, "n": 2}, 400),
        ({"prompt": "a", "response_format": "binary"}, 400),
        ({"prompt": "a", "timeout_s": 1e-6}, 504),
    ]:
        response = real.client.post("/v1/generate", json={"stream": True, **body})
        assert response.status_code == status, response.text
        assert set(response.json()["error"]) == {"message", "type", "param", "code"}
    refused = real.client.post("/v1/generate", json={"prompt": "a", "partial_images": 1})
    assert (refused.status_code, "stream to true" in refused.text) == (400, True)


def test_a_request_that_fails_in_the_middle_says_so(real: Any) -> None:
    received = stream(real, "/v1/generate", **{**LONG, "timeout_s": 2.0})
    assert {name for name, _ in received[:-1]} == {"progress"}
    name, data = received[-1]
    assert name == "error"
    assert data["error"]["code"] == "deadline_exceeded"
    assert data["error"]["param"] == "timeout_s"
    real.wait_for(lambda: idle(real), 60)


def test_leaving_in_the_middle_frees_the_place(real: Any) -> None:
    gone = 'flashu_requests_total{policy="",status="499",task="generate"}'
    before = real.metric(gone)
    with real.client.stream("POST", "/v1/generate", json=LONG) as response:
        received = events(response)
        assert next(received)[0] == "progress"
        assert not idle(real)
    real.wait_for(lambda: idle(real), 60)
    real.wait_for(lambda: real.metric(gone) == before + 1, 60)


def test_the_document_tells_of_the_streams(real: Any) -> None:
    document = real.client.get("/openapi.json").json()
    assert "$defs" not in json.dumps(document)
    streaming = ["/v1/generate", "/v1/vqa", "/v1/infer", "/v1/images/generations", "/v1/chat/completions"]
    for route in streaming:
        responses = document["paths"][route]["post"]["responses"]
        assert {"text/event-stream", "application/json"} <= responses["200"]["content"].keys()
        assert {"400", "408", "413", "415", "500", "503", "504"} <= responses.keys()
        assert document["paths"][route]["post"]["requestBody"]["content"]
    for reference in _references(document):
        part = document
        for name in reference.removeprefix("#/").split("/"):
            part = part[name]


def _references(part: Any) -> Iterator[str]:
    if isinstance(part, dict):
        for name, value in part.items():
            if name == "$ref":
                yield value
            else:
                yield from _references(value)
    elif isinstance(part, list):
        for value in part:
            yield from _references(value)


# Either task


def infer(live: Any, **body: Any) -> dict[str, Any]:
    response = live.client.post("/v1/infer", json={"num_inference_steps": 3, "max_new_tokens": 8, **body})
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def test_infer_generates_or_answers_and_gives_the_reason(real: Any) -> None:
    generated = infer(real, prompt="draw a red circle", seed=1)
    assert generated["routing"] == {"task": "generate", "reason": "the text asks for a picture"}
    plain = {"prompt": "draw a red circle", "seed": 1, "num_inference_steps": 3}
    assert generated["images"] == real.client.post("/v1/generate", json=plain).json()["images"]

    seen = infer(real, question="what is this?", image=picture())
    assert seen["routing"] == {"task": "vqa", "reason": "an image was given"}
    requested = {"question": "what is this?", "image": picture(), "max_new_tokens": 8}
    assert seen["answer"] == real.client.post("/v1/vqa", json=requested).json()["answer"]

    said = infer(real, prompt="what is red?")
    assert said["routing"]["task"] == said["task"] == "vqa"
    assert "image_decode" not in said["timings_ms"]
    assert said["schedule"]["visual_tokens_kept"] == 0

    named = infer(real, question="what is red?", task="generate")
    assert named["routing"] == {"task": "generate", "reason": "the task was named"}
    anew = infer(real, prompt="Draw a blue square.", image=picture())
    assert anew["task"] == "generate"


def test_infer_takes_forms_streams_and_files(real: Any) -> None:
    files = {"image": ("a.png", base64.b64decode(picture()), "image/png")}
    seen = real.client.post("/v1/infer", data={"prompt": "what is this?"}, files=files).json()
    assert seen["routing"]["reason"] == "an image was given"
    # A form without a file: httpx sends one as multipart only where there is a part for it.
    said = real.client.post("/v1/infer", files={"question": (None, "what is red?")}).json()
    assert said["task"] == "vqa"
    received = stream(real, "/v1/infer", prompt="draw a cat", num_inference_steps=3)
    assert received[-1][1]["routing"]["task"] == "generate"
    file = real.client.post(
        "/v1/infer", json={"prompt": "draw a cat", "num_inference_steps": 3, "response_format": "binary"}
    )
    assert file.headers["content-type"] == "image/png"


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"prompt": "a", "question": "b"},
        {"prompt": " "},
        {"prompt": "a", "task": "draw"},
        {"prompt": "a", "unknown": 1},
        {"prompt": "a", "image": "https://example.com/a.png"},
        {"prompt": "a", "partial_images": 2},
    ],
)
def test_infer_refuses(body: dict[str, Any], real: Any) -> None:
    response = real.client.post("/v1/infer", json=body)
    assert response.status_code == 400, response.text


def test_the_policy_is_reported_as_applied(real: Any) -> None:
    body = {"prompt": "a", "num_inference_steps": 4}
    for sent, applied in [
        (None, "exact"),
        ("flashu", "flashu"),
        ({"policy": "exact", "head_interval": 2}, {"policy": "exact", "head_interval": 2}),
    ]:
        response = real.client.post("/v1/generate", json={**body, "acceleration": sent})
        assert response.json()["acceleration"] == applied
