"""Fields that other clients send: taken, ignored with a warning, or refused in words, on OpenAI's routes and the native
ones."""

from __future__ import annotations

import base64
import io
import json
from typing import Any

import httpx
import pytest
from PIL import Image
from pydantic import BaseModel

from flashu_core.limits import MAX_NEW_TOKENS
from server.api.schemas import openai_fields
from server.api.schemas.completions import CompletionBody
from server.api.schemas.native import GenerateBody, InferBody, VqaBody
from server.api.schemas.openai import ChatBody, ImagesBody
from server.api.schemas.responses import ResponsesBody
from server.api.schemas.warnings import HEADER

CHAT, IMAGES = "/v1/chat/completions", "/v1/images/generations"
COMPLETIONS, RESPONSES = "/v1/completions", "/v1/responses"
SCHEMA = {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}}}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {}}}


def picture(size: tuple[int, int] = (20, 10)) -> str:
    file = io.BytesIO()
    Image.new("RGB", size, (10, 20, 30)).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


BODIES: dict[str, dict[str, Any]] = {
    CHAT: {"model": "toy", "messages": [{"role": "user", "content": "what is red?"}]},
    IMAGES: {"prompt": "a"},
    COMPLETIONS: {"model": "toy", "prompt": "what is red?"},
    RESPONSES: {"model": "toy", "input": "what is red?"},
    "/v1/generate": {"prompt": "a"},
    "/v1/vqa": {"question": "a", "image": picture()},
    "/v1/infer": {"question": "what is red?"},
}
SCHEMAS: dict[str, type[BaseModel]] = {
    CHAT: ChatBody,
    IMAGES: ImagesBody,
    COMPLETIONS: CompletionBody,
    RESPONSES: ResponsesBody,
    "/v1/generate": GenerateBody,
    "/v1/vqa": VqaBody,
    "/v1/infer": InferBody,
}


def post(shared: Any, route: str, **fields: Any) -> httpx.Response:
    response: httpx.Response = shared.client.post(route, json={**BODIES[route], **fields})
    return response


def warned(response: httpx.Response) -> list[str]:
    """What a response warns of; the list and the header agree."""
    assert response.status_code == 200, response.text
    names = [entry["param"] for entry in response.json().get("warnings", []) if entry["param"] is not None]
    assert response.headers.get(HEADER, "") == ", ".join(names)
    return names


@pytest.mark.parametrize("route", BODIES)
def test_null_is_absent_for_every_field(route: str, shared: Any) -> None:
    known = set(SCHEMAS[route].model_fields) | set(openai_fields.CHAT) | set(openai_fields.IMAGES) | {"whatever"}
    nulls = {name: None for name in known if name not in BODIES[route]}
    response = post(shared, route, **nulls)
    assert response.status_code == 200, response.text
    assert "warnings" not in response.json()


def test_null_is_absent_in_messages_and_parts(shared: Any) -> None:
    image = {"url": "data:image/png;base64," + picture(), "detail": None}
    parts = [
        {"type": "text", "text": "what is this?", "cache_control": None, "annotations": None},
        {"type": "image_url", "image_url": image, "uuid": None},
    ]
    messages = [{"role": "user", "content": parts, "name": None, "tool_calls": None, "refusal": None}]
    answer = post(shared, CHAT, messages=messages, stream_options=None)
    assert warned(answer) == []
    assert answer.json()["choices"][0]["message"]["content"].startswith("20x10")
    missing = post(shared, CHAT, messages=[{"role": "user", "content": None}]).json()["error"]
    assert (missing["param"], missing["code"]) == ("messages.0.content", "missing_field")


@pytest.mark.parametrize(
    "fields",
    [
        {"tools": []},
        {"tools": [TOOL]},
        {"tools": [TOOL], "tool_choice": "auto"},
        {"tools": [TOOL], "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": []}},
        {"tool_choice": "none"},
        {"functions": [], "function_call": "auto"},
        {"parallel_tool_calls": False},
        {"logit_bias": {}},
        {"logit_bias": {"5": 0}},
        {"top_logprobs": 0},
        {"top_logprobs": 2},
        {"service_tier": "auto"},
        {"top_k": -1},
        {"top_k": 40},
        {"min_p": 0.1},
        {"typical_p": 0.5},
        {"repetition_penalty": 1.0},
        {"repeat_penalty": 1.1},
        {"frequency_penalty": 0.5},
        {"presence_penalty": -1},
        {"metadata": {}},
        {"metadata": {"a": "b"}},
        {"user": "somebody"},
        {"safety_identifier": "x"},
        {"prompt_cache_key": "a"},
        {"store": True},
        {"reasoning_effort": "low"},
        {"verbosity": "low"},
        {"response_format": {"type": "text"}},
        {"n": 1},
        {"ignore_eos": True},
        {"stream_options": {"include_usage": True}},
        {"chat_template_kwargs": {"enable_thinking": False}},
        {"model_extra": 1, "review": 2, "no_effect": 3, "__class__": 4},
    ],
    ids=json.dumps,
)
def test_in_a_chat_what_asks_for_nothing_is_ignored_and_named(fields: dict[str, Any], shared: Any) -> None:
    assert warned(post(shared, CHAT, **fields)) == list(fields)


@pytest.mark.parametrize(
    "fields",
    [
        *({"quality": value} for value in ("hd", "high", "low", "medium", "standard", "auto")),
        *({"style": value} for value in ("vivid", "natural")),
        {"moderation": "low"},
        {"background": "auto"},
        {"background": "opaque"},
        {"user": "somebody"},
        {"image": []},
        {"input_fidelity": "high"},
        {"sampler": "euler"},
    ],
    ids=json.dumps,
)
def test_of_a_picture_what_only_hints_is_ignored_and_named(fields: dict[str, Any], shared: Any) -> None:
    assert warned(post(shared, IMAGES, **fields)) == list(fields)


@pytest.mark.parametrize(
    ("route", "fields", "param"),
    [
        (CHAT, {"tools": [TOOL], "tool_choice": "required"}, "tool_choice"),
        (CHAT, {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "f"}}}, "tool_choice"),
        (CHAT, {"functions": [], "function_call": {"name": "f"}}, "function_call"),
        (CHAT, {"response_format": {"type": "json_object"}}, "response_format"),
        (CHAT, {"response_format": SCHEMA}, "response_format"),
        (CHAT, {"n": 2}, "n"),
        (CHAT, {"n": True, "best_of": 3}, "best_of"),
        (CHAT, {"modalities": ["text", "audio"]}, "modalities"),
        (CHAT, {"logit_bias": {"5": 10}}, "logit_bias"),
        (CHAT, {"logit_bias": [5]}, "logit_bias"),
        (CHAT, {"web_search_options": {}}, "web_search_options"),
        (CHAT, {"guided_json": {"type": "object"}}, "guided_json"),
        (IMAGES, {"background": "transparent"}, "background"),
        (IMAGES, {"image": "AAAA"}, "image"),
        (IMAGES, {"mask": {"image_url": "x"}}, "mask"),
    ],
    ids=json.dumps,
)
def test_what_would_change_the_meaning_is_refused_in_words(
    route: str, fields: dict[str, Any], param: str, shared: Any
) -> None:
    before = len(shared.engine.seen)
    response = post(shared, route, **fields)
    error = response.json()["error"]
    assert (response.status_code, error["param"], error["code"]) == (400, param, "unsupported_value")
    assert error["message"].startswith(f"{param}: not supported by this model: ")
    assert "input should be" not in error["message"].lower()
    assert len(shared.engine.seen) == before


def test_a_size_the_model_lacks_is_refused_in_words(shared: Any) -> None:
    error = post(shared, IMAGES, size="1024x1024").json()["error"]
    assert error["param"] == "size"
    assert "not supported by this model; use one of 64x64, 96x64" in error["message"]


def test_hints_in_parts_and_options_are_named_with_their_place(shared: Any) -> None:
    image = {"url": "data:image/png;base64," + picture(), "detail": "low"}
    parts = [
        {"type": "text", "text": "what is this?", "cache_control": {"type": "ephemeral"}},
        {"type": "image_url", "image_url": image, "uuid": "a"},
    ]
    messages = [{"role": "user", "content": parts, "name": "bob"}]
    assert warned(post(shared, CHAT, messages=messages)) == [
        "messages.0.name",
        "messages.0.content.0.cache_control",
        "messages.0.content.1.uuid",
        "messages.0.content.1.image_url.detail",
    ]


@pytest.mark.parametrize("text", ["what is red?", "draw a cat"])
def test_a_chats_stream_warns_in_its_header_and_its_last_chunk(text: str, shared: Any) -> None:
    options = {"include_usage": True, "continuous_usage_stats": True}
    messages = [{"role": "user", "content": text}]
    response = post(shared, CHAT, messages=messages, stream=True, stream_options=options, store=True)
    assert response.headers[HEADER] == "store, stream_options.continuous_usage_stats"
    chunks = [json.loads(line[6:]) for line in response.text.splitlines() if line.startswith("data: {")]
    assert all("warnings" not in chunk for chunk in chunks[:-2])
    listed = [entry["param"] for entry in chunks[-2]["warnings"]]
    assert listed == ["store", "stream_options.continuous_usage_stats"]
    assert [chunk["usage"] for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)
    assert chunks[-1]["choices"] == []
    usage = chunks[-1]["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"] > 0
    unasked = post(shared, CHAT, messages=messages, stream=True).text
    assert '"usage"' not in unasked and HEADER not in post(shared, CHAT, messages=messages, stream=True).headers


def test_a_pictures_stream_warns_in_its_header_and_its_last_event(shared: Any) -> None:
    response = post(shared, IMAGES, stream=True, partial_images=1, quality="high")
    assert response.headers[HEADER] == "quality"
    events = [json.loads(line[6:]) for line in response.text.splitlines() if line.startswith("data: ")]
    assert events[-1]["warnings"][0]["param"] == "quality"
    assert events[-1]["usage"]["total_tokens"] == events[-1]["usage"]["input_tokens"] == 1


def test_names_of_a_clients_making_fit_a_header(shared: Any) -> None:
    names = ["", "a\r\nX-Evil: 1", "ü" * 300, "\0", "x" * 5000, "\u202e", "a, b"]
    response = post(shared, CHAT, **dict.fromkeys(names, 1), **{f"field_{index}": 1 for index in range(50)})
    header = response.headers[HEADER]
    assert header.isascii() and header.isprintable() and len(header) < 1000
    assert "x-evil" not in response.headers
    warnings = response.json()["warnings"]
    assert len(warnings) == 17
    # Three of the names are the same once they are cleaned.
    assert warnings[-1] == {"param": None, "message": f"{len(names) - 2 + 50 - 16} more fields were ignored"}


def test_ten_thousand_unknown_fields_are_no_work(shared: Any) -> None:
    response = post(shared, CHAT, **{f"num_inference_step_{index}": 1 for index in range(9_900)})
    assert response.json()["warnings"][-1]["message"] == f"{9_900 - 16} more fields were ignored"


def test_a_long_conversation(shared: Any) -> None:
    turns = [{"role": role, "content": "a"} for _ in range(900) for role in ("user", "assistant")]
    response = post(shared, CHAT, messages=[*turns, {"role": "user", "content": "what is red?"}])
    assert response.status_code == 200
    error = post(shared, CHAT, messages=turns * 2).json()["error"]
    assert (error["param"], error["code"]) == ("messages", "invalid_value")


def test_the_likeliest_name_is_suggested(shared: Any) -> None:
    warnings = {
        entry["param"]: entry["message"] for entry in post(shared, IMAGES, steps=3, cfg=1, qwz=1).json()["warnings"]
    }
    assert warnings["steps"].endswith("did you mean num_inference_steps?")
    assert warnings["cfg"].endswith("did you mean guidance_scale?")
    assert "did you mean" not in warnings["qwz"]
    for route, sent, right in [
        ("/v1/generate", "num_steps", "num_inference_steps"),
        ("/v1/generate", "guidanceScale", "guidance_scale"),
        ("/v1/generate", "width", "size"),
        ("/v1/vqa", "max_tokens", "max_new_tokens"),
        ("/v1/infer", "acceleratoin", "acceleration"),
    ]:
        error = post(shared, route, **{sent: 5}).json()["error"]
        assert (error["param"], error["code"]) == (sent, "unknown_field")
        assert error["message"] == f"{sent}: there is no such field; did you mean {right}?"
    response = shared.client.post("/v1/vqa", data={"quesion": "what is red?"}, files={"image": ("a.png", b"a")})
    assert "question" in response.json()["error"]["message"]
    error = post(shared, "/v1/generate", qwz=1).json()["error"]
    assert error["message"] == "qwz: there is no such field; remove it"
    form = shared.client.post("/v1/vqa", data={"question": "a", "max_tokens": "5"}, files={"image": b"x"})
    assert form.json()["error"]["message"].endswith("did you mean max_new_tokens?")


def test_numbers_as_other_languages_write_them(shared: Any) -> None:
    def seen() -> Any:
        return shared.engine.seen[-1].seed

    for route in (IMAGES, "/v1/generate"):
        assert post(shared, route, seed=16.0, n=2.0, num_inference_steps=3.0).status_code == 200
        assert seen() == 16
    for route in (CHAT, COMPLETIONS, RESPONSES, "/v1/vqa", "/v1/infer"):
        assert post(shared, route, seed=16.0).status_code == 200
        assert seen() == 16
    form = {"data": {"question": "a", "seed": "16.0"}, "files": {"image": base64.b64decode(picture())}}
    assert shared.client.post("/v1/vqa", **form).status_code == 200
    assert seen() == 16
    for route in (IMAGES, CHAT, COMPLETIONS, RESPONSES):
        for seed in (-1, -1.0, None):
            assert post(shared, route, seed=seed).status_code == 200
            assert seen() is None
        for seed in (-2, 1.5, 2**63, 10**40, True):
            error = post(shared, route, seed=seed).json()["error"]
            assert (error["param"], error["code"]) == ("seed", "invalid_value")


def test_a_length_beyond_the_models_limit_is_reduced_with_a_warning(shared: Any) -> None:
    for route, name in LENGTHS:
        assert warned(post(shared, route, **{name: 100_000})) == [name]
        assert warned(post(shared, route, **{name: 4096})) == []
        assert warned(post(shared, route, **{name: -1})) == []
        for value in (0, -2, 1.5, True):
            assert post(shared, route, **{name: value}).json()["error"]["param"] == name


@pytest.mark.parametrize(("sent", "kind"), [("jpg", "jpeg"), ("JPG", "jpeg"), ("JPEG", "jpeg"), ("WebP", "webp")])
def test_formats_of_files_under_other_names(sent: str, kind: str, shared: Any) -> None:
    for route in (IMAGES, "/v1/generate", "/v1/infer"):
        answer = post(shared, route, output_format=sent, **({"task": "generate"} if route == "/v1/infer" else {}))
        assert (answer.status_code, answer.json()["output_format"]) == (200, kind)
    form = {"prompt": "a", "task": "generate", "output_format": sent, "response_format": "binary"}
    file = shared.client.post("/v1/infer", files={name: (None, value) for name, value in form.items()})
    assert (file.status_code, file.headers["content-type"]) == (200, f"image/{kind}")
    with Image.open(io.BytesIO(file.content)) as image:
        assert image.format == kind.upper()
    tool = {"type": "image_generation", "output_format": sent}
    answer = post(shared, RESPONSES, input="draw a circle", tools=[tool])
    assert answer.json()["output"][0]["output_format"] == kind


LENGTHS = (
    (CHAT, "max_tokens"),
    (CHAT, "max_completion_tokens"),
    (COMPLETIONS, "max_tokens"),
    (RESPONSES, "max_output_tokens"),
)


def test_a_length_that_cannot_be_ready_in_time_is_cut_with_a_warning(toy: Any, serving: Any) -> None:
    with serving(toy(step_s=0.01), max_request_seconds=0.015) as live:  # enough for one of the answer's two words
        live.wait_until_ready()
        for route, name in LENGTHS:
            for length in (2, 4096, 100_000, -1):
                answer = post(live, route, **{name: length})
                assert answer.status_code == 200
                assert finish(answer) == "length"
                (warning,) = answer.json()["warnings"]
                words = "reduced to 1, which can be ready in time: a request may take 0.015 s"
                assert warning == {"param": name, "message": words}
            assert warned(post(live, route, **{name: 1})) == []
            streamed = post(live, route, stream=True, **{name: 4096})
            assert (streamed.status_code, streamed.headers[HEADER]) == (200, name)
            assert words in streamed.text
        for route in ("/v1/vqa", "/v1/infer"):
            error = post(live, route, max_new_tokens=4096).json()["error"]
            assert (error["param"], error["code"]) == ("max_new_tokens", "invalid_value")
            assert "would take 41 s by itself; at most 0.015 s may be: lower max_new_tokens" in error["message"]


def test_a_length_that_cannot_be_ready_before_the_deadline_is_cut(toy: Any, serving: Any) -> None:
    with serving(toy(step_s=0.5)) as live:
        live.wait_until_ready()
        for route, name in LENGTHS:
            answer = post(live, route, timeout_s=30.0, **{name: 4096})
            assert finish(answer) == "stop"
            (warning,) = answer.json()["warnings"]
            words = "reduced to 54, which can be ready in time: it has 27 s of timeout_s"
            assert warning == {"param": name, "message": words}
        prompts = ["a", "b"]  # one after the other, in a stream
        answer = post(live, COMPLETIONS, prompt=prompts, stream=True, timeout_s=30.0, max_tokens=4096)
        assert "reduced to 27, which can be ready in time: it has 13.5 s of timeout_s" in answer.text


def finish(response: httpx.Response) -> str:
    """Why an answer ended, in the words of a chat."""
    body = response.json()
    if "choices" in body:
        return str(body["choices"][0]["finish_reason"])
    return "length" if body["incomplete_details"] == {"reason": "max_output_tokens"} else "stop"


@pytest.mark.parametrize("given", [-1, -1.0])
def test_a_length_of_minus_one_is_the_maximum(given: float) -> None:
    turn: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "what is a circle?"}]}
    for name in ("max_tokens", "max_completion_tokens"):
        assert (
            ChatBody.model_validate({**turn, name: given}).understand_request(1.0, "exact").max_new_tokens
            == MAX_NEW_TOKENS
        )
    assert ChatBody.model_validate({**turn, "max_tokens": None}).understand_request(1.0, "exact").max_new_tokens == 128


def test_every_table_says_why() -> None:
    for table in (openai_fields.CHAT, openai_fields.IMAGES, openai_fields.TEXT, openai_fields.COMMON):
        for name, field in table.items():
            assert field.reason and field.remedy, name
    assert not set(openai_fields.CHAT) & set(ChatBody.model_fields)
    assert not set(openai_fields.IMAGES) & set(ImagesBody.model_fields)


@pytest.mark.parametrize(
    ("route", "fields", "path", "right"),
    [
        (CHAT, {"temprature": 0.5}, "temprature", "temperature"),
        (
            CHAT,
            {"stream": True, "stream_options": {"includeUsage": True}},
            "stream_options.includeUsage",
            "include_usage",
        ),
        (CHAT, {"messages": [{"role": "user", "content": "a", "contents": 1}]}, "messages.0.contents", "content"),
        (
            CHAT,
            {"messages": [{"role": "user", "content": [{"type": "text", "text": "a", "texts": "b"}]}]},
            "messages.0.content.0.texts",
            "text",
        ),
        (
            CHAT,
            {
                "messages": [
                    {"role": "assistant", "content": "a"},
                    {"role": "user", "content": [{"type": "text", "text": "draw a cat"}], "rol": 1},
                ]
            },
            "messages.1.rol",
            "role",
        ),
        ("/v1/completions", {"prompt": "a", "max_token": 3}, "max_token", "max_tokens"),
        (
            "/v1/completions",
            {"prompt": "a", "stream": True, "stream_options": {"include_usages": True}},
            "stream_options.include_usages",
            "include_usage",
        ),
        ("/v1/responses", {"input": "a", "max_output_token": 3}, "max_output_token", "max_output_tokens"),
        (
            "/v1/responses",
            {"input": "draw a cat", "tools": [{"type": "image_generation", "sizes": "64x64"}]},
            "tools.0.sizes",
            "size",
        ),
        ("/v1/images/generations", {"prompt": "a", "negativ_prompt": "b"}, "negativ_prompt", "negative_prompt"),
    ],
)
def test_a_warning_names_the_likeliest_field_at_every_level(
    route: str, fields: dict[str, Any], path: str, right: str, shared: Any
) -> None:
    response = shared.client.post(
        route,
        json={
            "model": "toy",
            "messages": [{"role": "user", "content": "what is red?"}],
            "num_inference_steps": 2,
            **fields,
        },
    )
    assert response.status_code == 200
    assert path in response.headers[HEADER].split(", ")
    assert f"did you mean {right}?" in response.text


@pytest.mark.parametrize("route", ["/v1/generate", "/v1/images/generations"])
@pytest.mark.parametrize(
    ("acceleration", "right"),
    [({"polcy": "flashu"}, "policy"), ({"policy": "flashu", "head_intervall": 2}, "head_interval")],
)
def test_an_error_about_acceleration_names_the_likeliest_parameter(
    route: str, acceleration: dict[str, Any], right: str, real: Any
) -> None:
    error = real.client.post(route, json={"prompt": "a", "acceleration": acceleration}).json()["error"]
    assert error["param"].startswith("acceleration")
    assert error["message"].endswith(f"did you mean {right}?")
