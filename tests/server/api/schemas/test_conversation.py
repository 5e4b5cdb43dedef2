"""The subject of a chat's turn: the last picture of the conversation, in a message of any role."""

from __future__ import annotations

import base64
import io
from typing import Any

import httpx
import pytest
from PIL import Image

QUESTION = {"role": "user", "content": "what colour is it?"}


def url(width: int) -> str:
    file = io.BytesIO()
    Image.new("RGB", (width, 10), (10, 20, 30)).save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def image(width: int) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url(width)}}


def say(text: str, *widths: int) -> dict[str, Any]:
    return {"role": "user", "content": [{"type": "text", "text": text}, *map(image, widths)]}


def chat(shared: Any, *messages: Any, **fields: Any) -> httpx.Response:
    response: httpx.Response = shared.client.post(
        "/v1/chat/completions", json={"model": "toy", "messages": messages, **fields}
    )
    return response


@pytest.mark.parametrize(
    ("earlier", "index", "role"),
    [
        ([{"role": "assistant", "content": None, "images": [image(31)]}], 0, "assistant"),
        ([{"role": "assistant", "content": [image(31)]}], 0, "assistant"),
        ([{"role": "assistant", "content": [{"type": "text", "text": "here"}, image(31)]}], 0, "assistant"),
        ([{"role": "assistant", "content": [{"type": "image_url", "image_url": url(31)}]}], 0, "assistant"),
        ([{"role": "assistant", "content": [{"type": "input_image", "image_url": url(31)}]}], 0, "assistant"),
        ([{"role": "tool", "tool_call_id": "1", "content": [image(31)]}], 0, "tool"),
        ([{"role": "system", "content": [image(31)]}], 0, "system"),
        ([say("what is this?", 31), {"role": "assistant", "content": "a thing"}], 0, "user"),
        ([say("what is this?", 20), {"role": "assistant", "images": [image(20), image(31)]}], 1, "assistant"),
        ([{"role": "assistant", "images": [image(20)]}, say("and this?", 31)], 1, "user"),
        ([say("these?", 20, 31), {"role": "assistant", "content": "two"}], 0, "user"),
    ],
)
def test_the_last_picture_is_looked_at_whoever_sent_it(earlier: Any, index: int, role: str, shared: Any) -> None:
    answer = chat(shared, *earlier, QUESTION)
    assert answer.status_code == 200, answer.text
    assert answer.json()["choices"][0]["message"]["content"].startswith("31x10")
    assert answer.json()["routing"] == {
        "task": "vqa",
        "reason": "an image was given",
        "image": {"message": index, "role": role},
    }
    stream = chat(shared, *earlier, QUESTION, stream=True).text
    assert f'"image": {{"message": {index}, "role": "{role}"}}' in stream


def test_its_own_picture_goes_before_all_others(shared: Any) -> None:
    answer = chat(shared, {"role": "assistant", "images": [image(20)]}, say("what is this?", 31)).json()
    assert answer["choices"][0]["message"]["content"].startswith("31x10")
    assert answer["routing"]["image"] == {"message": 1, "role": "user"}


def test_a_question_about_a_generated_picture(shared: Any) -> None:
    turn = {"role": "user", "content": "draw a cat"}
    generated = chat(shared, turn, seed=3).json()["choices"][0]["message"]
    answer = chat(shared, turn, generated, QUESTION).json()
    assert answer["choices"][0]["message"]["content"].startswith("64x64")
    assert answer["routing"]["image"] == {"message": 1, "role": "assistant"}


def test_a_damaged_picture_is_named_by_its_place(shared: Any) -> None:
    for earlier, param in [
        ({"role": "assistant", "images": [{"image_url": {"url": "data:image/png;base64,AAAA"}}]}, "images.0.image_url"),
        ({"role": "assistant", "content": [{"image_url": "https://example.org/a.png"}]}, "content.0.image_url"),
    ]:
        error = chat(shared, earlier, QUESTION).json()["error"]
        assert error["param"] == f"messages.0.{param}"
        assert error["message"].startswith(error["param"])
        # A new picture does not need the old one.
        assert chat(shared, earlier, {"role": "user", "content": "draw a cat"}).status_code == 200


@pytest.mark.parametrize("content", [5, "x", {"a": 1}, ["x", 5, None, {"image_url": 5}, {"image_url": {"url": 5}}]])
def test_what_others_said_may_have_any_form(content: Any, shared: Any) -> None:
    answer = chat(shared, {"role": "assistant", "content": content, "images": content, "tool_calls": content}, QUESTION)
    assert answer.status_code == 200
    assert "image" not in answer.json()["routing"]


def test_messages_that_are_not_read_are_warned_of(shared: Any) -> None:
    answer = chat(
        shared,
        {"role": "system", "content": "Be brief."},
        say("hello"),
        {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]},
        {"role": "tool", "tool_call_id": "1", "content": "5"},
        {"role": "function", "name": "f", "content": "5"},
        {"role": "user", "content": [{"type": "text", "text": "what?"}, {"type": "input_audio", "input_audio": {}}]},
        QUESTION,
    )
    assert [entry["param"] for entry in answer.json()["warnings"]] == [
        "messages.5.content.1.input_audio",
        "messages.0",
        "messages.3",
        "messages.4",
        "messages.5.content.1",
    ]


def test_a_text_that_speaks_of_a_picture_without_one_is_answered_with_a_warning(shared: Any) -> None:
    answer = chat(shared, {"role": "user", "content": "what is in the picture?"})
    assert [entry["param"] for entry in answer.json()["warnings"]] == ["messages"]
    infer = shared.client.post("/v1/infer", json={"question": "what is in the picture?"})
    assert [entry["param"] for entry in infer.json()["warnings"]] == ["question"]
    assert infer.headers["x-flashu-warnings"] == "question"
    stream = shared.client.post("/v1/infer", json={"prompt": "what is in the picture?", "stream": True})
    assert '"warnings":[{"param":"prompt"' in stream.text


@pytest.mark.parametrize("text", ["draw this with a blue circle", "make the circle blue", "edit the image"])
def test_wishes_to_change_a_picture_are_refused_with_that_reason(text: str, shared: Any) -> None:
    before = len(shared.engine.seen)
    own, generated = say(text, 20), [{"role": "assistant", "images": [image(20)]}, {"role": "user", "content": text}]
    picture = url(20)
    refused = [chat(shared, own), chat(shared, own, modalities=["image"])]
    if text != "edit the image":
        refused.append(chat(shared, *generated))
    for fields in ({}, {"task": "generate"}):
        refused.append(shared.client.post("/v1/infer", json={"prompt": text, "image": picture, **fields}))
    for response in refused:
        error = response.json()["error"]
        assert (response.status_code, error["code"]) == (400, "unsupported_value")
        assert error["param"] in ("messages", "prompt")
        assert "change of the image" in error["message"] and "describe the whole picture" in error["message"]
    assert len(shared.engine.seen) == before
    # With modalities ["text"] the answer is text, from the picture.
    answer = chat(shared, own, modalities=["text"]).json()
    assert answer["routing"] == {
        "task": "vqa",
        "reason": "modalities ask for text",
        "image": {"message": 0, "role": "user"},
    }


def test_a_picture_beside_a_wish_for_a_new_one_is_warned_of(shared: Any) -> None:
    answer = chat(shared, say("Draw a cat.", 20)).json()
    assert answer["routing"] == {
        "task": "generate",
        "reason": "an image was given, but the text asks for a new one",
    }
    assert [entry["param"] for entry in answer["warnings"]] == ["messages.0.content.1.image_url"]
    infer = shared.client.post("/v1/infer", json={"prompt": "Draw a cat.", "image": url(20)})
    assert [entry["param"] for entry in infer.json()["warnings"]] == ["image"]


def test_the_parameter_that_was_sent_is_named(shared: Any) -> None:
    long = "word " * 300
    for name, route, body in [
        ("messages", "/v1/chat/completions", {"model": "toy", "messages": [{"role": "user", "content": long}]}),
        ("messages", "/v1/chat/completions", {"model": "toy", "messages": [say("draw a cat " + long)]}),
        ("messages.0.content", "/v1/chat/completions", {"model": "toy", "messages": [say("x" * 40_000)]}),
        ("prompt", "/v1/infer", {"prompt": "what is " + long}),
        ("question", "/v1/infer", {"question": "draw " + long}),
        ("prompt", "/v1/generate", {"prompt": long}),
        ("prompt", "/v1/generate", {"prompt": "x" * 40_000}),
        ("prompt", "/v1/images/generations", {"prompt": long}),
        ("question", "/v1/vqa", {"question": long, "image": url(20)}),
        ("prompt", "/v1/completions", {"model": "toy", "prompt": [long]}),
        ("prompt", "/v1/completions", {"model": "toy", "prompt": "x" * 40_000}),
        ("input", "/v1/responses", {"model": "toy", "input": long}),
        ("input", "/v1/responses", {"model": "toy", "input": [say("draw a cat " + long)]}),
    ]:
        for stream in (False, True):
            response = shared.client.post(route, json={**body, "stream": stream})
            error = response.json()["error"]
            assert (response.status_code, error["code"]) == (400, "context_length_exceeded")
            assert error["param"].startswith(name)


@pytest.mark.parametrize(("route", "field"), [("/v1/chat/completions", "messages"), ("/v1/responses", "input")])
def test_the_text_of_all_parts_of_a_message_has_one_limit(route: str, field: str, shared: Any) -> None:
    before = len(shared.engine.seen)
    turn = {"role": "user", "content": [{"type": "text", "text": "x" * 20_000}] * 2}
    error = shared.client.post(route, json={"model": "toy", field: [turn]}).json()["error"]
    assert (error["code"], error["param"]) == ("context_length_exceeded", field)
    assert "at most 32768 characters" in error["message"]
    assert len(shared.engine.seen) == before


def test_a_form_that_was_cut_off_says_so(shared: Any) -> None:
    body = b'--B\r\nContent-Disposition: form-data; name="question"\r\n\r\nwhat?\r\n--B'
    for end, code in ((b"--", None), (b"--\r\nepilogue", None), (b"-", "malformed_body"), (b"\r\n", "malformed_body")):
        response = shared.client.post(
            "/v1/infer", content=body + end, headers={"content-type": "multipart/form-data; boundary=B"}
        )
        assert response.json().get("error", {}).get("code") == code, (end, response.text)
