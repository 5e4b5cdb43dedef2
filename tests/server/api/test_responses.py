"""`POST /v1/responses` as OpenAI's client sees it, over a real socket with the embedded model."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai.types.responses import Response
from PIL import Image

FEW = {"seed": 3, "num_inference_steps": 4}
ASKED = "what colour is it?"
IMAGE_TOOL: Any = [{"type": "image_generation"}]


@pytest.fixture(scope="module")
def client(real: Any) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"http://127.0.0.1:{real.port}/v1", api_key="none", max_retries=0) as client:
        yield client


def data_url(colour: tuple[int, int, int] = (200, 20, 20)) -> str:
    file = io.BytesIO()
    Image.new("RGB", (64, 64), colour).save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def user(text: str, *urls: str) -> Any:
    parts: list[Any] = [{"type": "input_image", "image_url": url} for url in urls]
    return {"role": "user", "content": [{"type": "input_text", "text": text}, *parts]}


def create(client: openai.OpenAI, **fields: Any) -> Response:
    return client.responses.create(**{"model": "shapes-64", **fields})


def added(response: Response) -> dict[str, Any]:
    """What this server adds to OpenAI's fields."""
    return response.model_extra or {}


def assert_typed(response: Response) -> None:
    """That a strict reading of the client's own types finds nothing amiss."""
    Response.model_validate(response.model_dump(), strict=False)


# Answers


def test_a_text(client: openai.OpenAI, real: Any) -> None:
    response = create(client, input="what is red?")
    chat = {"model": "shapes-64", "messages": [{"role": "user", "content": "what is red?"}]}
    same = real.client.post("/v1/chat/completions", json=chat).json()
    assert response.output_text == same["choices"][0]["message"]["content"] != ""
    assert (response.object, response.status, response.error) == ("response", "completed", None)
    assert response.usage is not None
    assert response.usage.input_tokens == same["usage"]["prompt_tokens"]
    assert response.usage.output_tokens == same["usage"]["completion_tokens"]
    assert added(response)["routing"] == {"task": "vqa", "reason": "the text asks for an answer"}
    assert_typed(response)


def test_a_question_about_a_picture(client: openai.OpenAI, real: Any) -> None:
    url = data_url()
    response = create(client, input=[user(ASKED, url)])
    native = real.client.post("/v1/vqa", json={"question": ASKED, "image": url}).json()
    assert response.output_text == native["answer"]
    assert added(response)["routing"]["image"] == {"message": 0, "role": "user"}


def test_the_maximum_length_is_returned(client: openai.OpenAI) -> None:
    response = create(
        client, input=[user("what is this?", data_url())], max_output_tokens=1, temperature=0.9, top_p=0.5
    )
    assert response.usage is not None and response.usage.output_tokens == 1
    assert (response.temperature, response.top_p, response.max_output_tokens) == (0.9, 0.5, 1)
    if response.status == "incomplete":
        assert response.incomplete_details is not None
        assert response.incomplete_details.reason == "max_output_tokens"


def test_an_answer_in_a_stream(client: openai.OpenAI) -> None:
    requested: Any = [user("what is this?", data_url())]
    plain = create(client, input=requested)
    with client.responses.stream(model="shapes-64", input=requested) as stream:
        events = list(stream)
        final = stream.get_final_response()
    kinds = [event.type for event in events]
    deltas = kinds.count("response.output_text.delta")
    assert kinds == [
        *("response.created", "response.in_progress", "response.output_item.added", "response.content_part.added"),
        *["response.output_text.delta"] * deltas,
        *("response.output_text.done", "response.content_part.done", "response.output_item.done", "response.completed"),
    ]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == plain.output_text
    assert final.output_text == plain.output_text and final.usage == plain.usage
    assert final.id == events[0].response.id  # type: ignore[union-attr]
    assert_typed(final)


def test_a_stream_that_is_cut_ends_as_incomplete(client: openai.OpenAI) -> None:
    requested = "how many large red circles are left of the small blue square?"
    whole = create(client, input=requested)
    assert whole.usage is not None
    events = list(client.responses.create(model="shapes-64", input=requested, stream=True, max_output_tokens=1))
    ended = "response.completed" if whole.usage.output_tokens < 1 else events[-1].type
    assert ended in ("response.incomplete", "response.completed")
    assert events[-1].type == ended
    assert events[-1].response.status == ended.removeprefix("response.")  # type: ignore[union-attr]


def test_log_probabilities(client: openai.OpenAI, real: Any) -> None:
    chat = {"model": "shapes-64", "messages": [{"role": "user", "content": "what is red?"}]}
    chat |= {"logprobs": True, "top_logprobs": 3}
    same = real.client.post("/v1/chat/completions", json=chat).json()["choices"][0]["logprobs"]["content"]
    include: Any = ["message.output_text.logprobs"]
    whole = create(client, input="what is red?", include=include, top_logprobs=3)
    assert not added(whole).get("warnings")
    message = whole.output[0]
    assert message.type == "message" and message.content[0].type == "output_text"
    assert [one.model_dump() for one in message.content[0].logprobs or ()] == same
    assert len(same[0]["top_logprobs"]) == 3
    events = client.responses.create(
        model="shapes-64", input="what is red?", include=include, top_logprobs=3, stream=True
    )
    tokens = [one for event in events if event.type == "response.output_text.delta" for one in event.logprobs]
    assert [one.token for one in tokens] == [one["token"] for one in same]


async def test_the_asynchronous_client(real: Any) -> None:
    async with openai.AsyncOpenAI(base_url=f"http://127.0.0.1:{real.port}/v1", api_key="none") as client:
        async with client.responses.stream(model="shapes-64", input="what is red?") as stream:
            kinds = [event.type async for event in stream]
        assert (await client.responses.create(model="shapes-64", input="what is red?")).output_text
    assert kinds[-1] == "response.completed"


# Pictures


def picture_of(response: Response) -> Any:
    (item,) = response.output
    assert item.type == "image_generation_call"
    return item


def test_words_for_a_picture_generate_it(client: openai.OpenAI, real: Any) -> None:
    response = create(client, input="Draw a red circle", extra_body=FEW)
    native = real.client.post("/v1/generate", json={"prompt": "Draw a red circle", **FEW}).json()
    item = picture_of(response)
    assert item.result == native["images"][0]["b64_json"]
    assert (item.status, item.size, item.output_format, item.background) == ("completed", "64x64", "png", "opaque")
    assert response.output_text == ""
    assert response.usage is not None and response.usage.input_tokens > 0 and response.usage.output_tokens == 0
    assert_typed(response)


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("a red circle", {"tools": IMAGE_TOOL}),
        ("what is a red circle?", {"tools": IMAGE_TOOL, "tool_choice": {"type": "image_generation"}}),
        ("what is a red circle?", {"tools": IMAGE_TOOL, "tool_choice": "required"}),
    ],
)
def test_the_tool_generates(text: str, fields: Any, client: openai.OpenAI) -> None:
    assert picture_of(create(client, input=text, **fields, extra_body=FEW)).result


def test_a_tool_that_is_there_does_not_have_to_be_used(client: openai.OpenAI) -> None:
    assert create(client, input="what is red?", tools=IMAGE_TOOL).output_text
    assert create(client, input="Draw a red circle", tools=IMAGE_TOOL, tool_choice="none").output_text


def test_every_field_of_the_tool(client: openai.OpenAI) -> None:
    tool: Any = {"type": "image_generation", "size": "64x64", "output_format": "jpeg", "output_compression": 50}
    tool |= {
        "quality": "low",
        "moderation": "low",
        "background": "opaque",
        "action": "generate",
        "model": "gpt-image-1",
    }
    response = create(client, input="a red circle", tools=[tool], extra_body=FEW)
    item = picture_of(response)
    assert (item.output_format, base64.b64decode(item.result)[:2]) == ("jpeg", b"\xff\xd8")
    named = [entry["param"] for entry in added(response)["warnings"]]
    assert named == ["tools.0.quality", "tools.0.moderation", "tools.0.background", "tools.0.action", "tools.0.model"]


def test_a_picture_in_a_stream(client: openai.OpenAI) -> None:
    tools: Any = [{"type": "image_generation", "partial_images": 2}]
    extra = {"seed": 3, "num_inference_steps": 9}
    plain = picture_of(create(client, input="a red circle", tools=IMAGE_TOOL, extra_body=extra))
    stream = client.responses.create(
        model="shapes-64", input="a red circle", tools=tools, stream=True, extra_body=extra
    )
    events = list(stream)
    call = "response.image_generation_call"
    assert [event.type for event in events] == [
        *("response.created", "response.in_progress", "response.output_item.added"),
        *(f"{call}.in_progress", f"{call}.generating", f"{call}.partial_image", f"{call}.partial_image"),
        *(f"{call}.completed", "response.output_item.done", "response.completed"),
    ]
    partial = [event for event in events if event.type == "response.image_generation_call.partial_image"]
    assert [event.partial_image_index for event in partial] == [0, 1]
    for event in partial:
        with Image.open(io.BytesIO(base64.b64decode(event.partial_image_b64))) as image:
            assert image.size == (64, 64)
    last = events[-1]
    assert last.type == "response.completed"
    assert picture_of(last.response).result == plain.result


def test_a_question_about_a_generated_picture(client: openai.OpenAI) -> None:
    blue = data_url((20, 20, 200))
    generated = {"type": "image_generation_call", "id": "ig_1", "status": "completed", "result": blue.split(",")[1]}
    talk: Any = [user("Draw it", data_url()), generated, user(ASKED)]
    response = create(client, input=talk)
    alone = create(client, input=[user(ASKED, blue)])
    assert response.output_text == alone.output_text
    assert added(response)["routing"]["image"] == {"message": 1, "role": "assistant"}


def test_a_conversation_as_clients_send_it_back(client: openai.OpenAI) -> None:
    first = create(client, input=[user(ASKED, data_url())])
    talk: Any = [
        {"role": "developer", "content": "Be brief."},
        user(ASKED, data_url()),
        *(item.model_dump() for item in first.output),
        {"type": "reasoning", "id": "rs_1", "summary": []},
        {"type": "item_reference", "id": "msg_1"},
        {"type": "message", "role": "user", "content": ASKED},
    ]
    response = create(client, input=talk)
    assert response.output_text == first.output_text
    assert [entry["param"] for entry in added(response)["warnings"]] == ["input.0", "input.3", "input.4"]


# Fields


def test_what_has_no_effect_is_ignored_and_named(client: openai.OpenAI) -> None:
    fields: dict[str, Any] = {
        "instructions": "Be brief",
        "metadata": {"a": "b"},
        "store": True,
        "truncation": "auto",
        "reasoning": {"effort": "low"},
        "include": ["reasoning.encrypted_content"],
        "text": {"format": {"type": "text"}, "verbosity": "low"},
        "user": "somebody",
        "parallel_tool_calls": True,
        "service_tier": "auto",
    }
    functions = [{"type": "function", "name": "look_up", "parameters": {}, "strict": True}]
    response = create(client, input="what is red?", **fields, tools=functions, tool_choice="auto")
    named = [entry["param"] for entry in added(response)["warnings"]]
    assert sorted(named) == sorted([*fields, "tools.0"])
    none = create(client, input="what is red?", extra_body=dict.fromkeys([*fields, "previous_response_id", "tools"]))
    assert none.output_text == response.output_text
    assert "warnings" not in added(none)


@pytest.mark.parametrize(
    ("fields", "param", "words"),
    [
        ({"previous_response_id": "resp_1"}, "previous_response_id", "nothing is stored between requests"),
        ({"conversation": "conv_1"}, "conversation", "nothing is stored"),
        ({"background": True}, "background", "nothing is stored"),
        ({"prompt": {"id": "p"}}, "prompt", "nothing is stored"),
        ({"text": {"format": {"type": "json_object"}}}, "text", "free text"),
        ({"tool_choice": "required"}, "tool_choice", "is the only tool"),
        ({"tool_choice": {"type": "function", "name": "f"}}, "tool_choice", "is the only tool"),
        ({"tools": [{"type": "image_generation", "background": "transparent"}]}, "tools.0.background", "opaque"),
        ({"tools": [{"type": "image_generation", "action": "edit"}]}, "tools.0.action", "edits no pictures"),
        (
            {"tools": [{"type": "image_generation", "partial_images": 4}]},
            "tools.0.partial_images",
            "less than or equal",
        ),
        ({"tools": [{}]}, "tools.0", "with a type"),
        ({"input": " "}, "input", "must not be empty"),
        ({"input": []}, "input", "at least 1"),
        ({"input": 7}, "input", "text or a list of items"),
        ({"input": [{"content": "a"}]}, "input.0", "message with a role"),
        ({"input": [{"role": "assistant", "content": "a"}]}, "input", "message of the user's"),
        (
            {"input": [user("a"), {"type": "function_call_output", "call_id": "1", "output": "2"}]},
            "input",
            "the user's",
        ),
        ({"input": [user(" ", data_url())]}, "input", "no text"),
        ({"input": [user("what?", data_url(), data_url())]}, "input.0.content", "one picture at a time"),
        ({"input": [{"type": "item_reference", "id": "ig_1"}, user("what?")]}, "input.0", "send the item itself"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "f"}]}]},
            "input",
            "no text",
        ),
        ({"input": [user("what?", "https://example.com/a.png")]}, "input.0.content.1.image_url", "is an address"),
        ({"input": "a " * 300}, "input", "tokens"),
        ({"max_output_tokens": 0}, "max_output_tokens", "greater than"),
        ({"temperature": 3}, "temperature", "less than"),
    ],
)
def test_what_is_refused(fields: dict[str, Any], param: str | None, words: str, client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match=words) as caught:
        create(client, **{"input": "what is red?", **fields})
    assert caught.value.param == param


def test_a_size_that_there_is_not_is_named_where_it_was_sent(client: openai.OpenAI) -> None:
    functions: Any = [{"type": "function", "name": "look_up", "parameters": {}, "strict": True}]
    large: Any = [*functions, {"type": "image_generation", "size": "1024x1024"}]
    for fields, param in (
        ({"tools": large}, "tools.1.size"),
        ({"tools": IMAGE_TOOL, "extra_body": {"size": "1024x1024"}}, "size"),
    ):
        with pytest.raises(openai.BadRequestError, match="64x64") as caught:
            create(client, input="a cat", tool_choice="required", **fields)
        assert caught.value.param == param


def test_another_model_is_not_found(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError):
        create(client, model="gpt-x", input="a")


def test_a_stream_that_fails_in_the_middle_raises(client: openai.OpenAI, real: Any) -> None:
    for timeout_s in (0.5, 1.0, 2.0, 4.0, 8.0):  # until the first step ends in time, and the thousandth does not
        events = []
        with pytest.raises(openai.APIError, match="timeout_s") as caught:
            extra = {"num_inference_steps": 1000, "timeout_s": timeout_s}
            for event in client.responses.create(model="shapes-64", input="draw a cat", stream=True, extra_body=extra):
                events.append(event)
        assert caught.value.code == "deadline_exceeded"
        if events:
            break
    assert events[0].type == "response.created"


def test_leaving_a_stream_frees_the_place(client: openai.OpenAI, real: Any) -> None:
    stream = client.responses.create(
        model="shapes-64", input="draw a cat", stream=True, extra_body={"num_inference_steps": 1000}
    )
    next(iter(stream))
    stream.close()
    real.wait_for(lambda: real.client.get("/health").json()["running"] == 0, 60)
