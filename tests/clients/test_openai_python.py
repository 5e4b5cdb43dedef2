"""OpenAI's client for Python, of the major version before the one that the server's own tests use."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import openai
import pytest


@pytest.fixture
def client(server: Any) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=server.api, api_key="none", max_retries=0) as client:
        yield client


def test_models(client: openai.OpenAI, server: Any) -> None:
    assert [model.id for model in client.models.list()] == [server.model]
    assert client.models.retrieve(server.model).created > 1_700_000_000


def test_chat(client: openai.OpenAI, server: Any, looking: Any) -> None:
    answer = client.chat.completions.create(model=server.model, messages=looking, n=1, tools=[], user="somebody")
    assert answer.choices[0].message.content == "blue"
    with client.chat.completions.stream(model=server.model, messages=looking) as stream:
        assert stream.get_final_completion().choices[0].message.content == "blue"


def test_every_field_that_it_has_may_be_null(client: openai.OpenAI, server: Any, looking: Any) -> None:
    names = ("temperature", "top_p", "n", "stop", "stream", "stream_options", "max_tokens", "max_completion_tokens")
    names += ("presence_penalty", "frequency_penalty", "logit_bias", "logprobs", "top_logprobs", "response_format")
    names += ("seed", "tools", "tool_choice", "parallel_tool_calls", "user", "functions", "function_call", "audio")
    names += ("modalities", "prediction", "reasoning_effort", "metadata", "store", "service_tier", "web_search_options")
    nothing: Any = dict.fromkeys(names)
    answer = client.chat.completions.create(model=server.model, messages=looking, extra_body=nothing)
    assert answer.choices[0].message.content == "blue"


def test_log_probabilities(client: openai.OpenAI, server: Any, looking: Any) -> None:
    answer = client.chat.completions.create(model=server.model, messages=looking, logprobs=True, top_logprobs=3)
    told = answer.choices[0].logprobs
    assert told is not None and told.content is not None
    assert told.content[0].token == "blue" and len(told.content[0].top_logprobs) == 3


def test_drawn_then_asked_about(client: openai.OpenAI, server: Any, is_picture: Any) -> None:
    turn: Any = {"role": "user", "content": "Draw a large blue square"}
    drawn = client.chat.completions.create(model=server.model, messages=[turn]).choices[0].message
    assert is_picture((drawn.model_extra or {})["images"][0]["image_url"]["url"])
    talk: Any = [turn, drawn.model_dump(), {"role": "user", "content": "What colour is the square?"}]
    assert client.chat.completions.create(model=server.model, messages=talk).choices[0].message.content == "blue"


def test_images(client: openai.OpenAI, server: Any, is_picture: Any) -> None:
    drawn = client.images.generate(
        model=server.model, prompt="a red circle", n=2, size="64x64", quality="high", response_format="b64_json"
    )
    assert drawn.data is not None and len(drawn.data) == 2
    assert all(is_picture(one.b64_json) for one in drawn.data)
    events = list(client.images.generate(model=server.model, prompt="a red circle", stream=True, partial_images=1))
    assert [event.type.rpartition(".")[2] for event in events] == ["partial_image", "completed"]


def test_responses(client: openai.OpenAI, server: Any, data_url: str, is_picture: Any) -> None:
    parts = [
        {"type": "input_text", "text": "What colour is the square?"},
        {"type": "input_image", "image_url": data_url, "detail": "auto"},
    ]
    requested: Any = [{"role": "user", "content": parts}]
    assert client.responses.create(model=server.model, input=requested).output_text == "blue"
    with client.responses.stream(model=server.model, input=requested) as stream:
        assert stream.get_final_response().output_text == "blue"
    tools: Any = [{"type": "image_generation"}]
    (item,) = client.responses.create(model=server.model, input="a blue square", tools=tools).output
    assert item.type == "image_generation_call" and is_picture(item.result)


def test_completions(client: openai.OpenAI, server: Any) -> None:
    assert client.completions.create(model=server.model, prompt="what is red?").choices[0].text
    assert list(client.completions.create(model=server.model, prompt="what is red?", stream=True))


def test_edits_are_refused_in_words(client: openai.OpenAI, data_url: str) -> None:
    with pytest.raises(openai.BadRequestError, match="edits no pictures"):
        client.images.edit(image=base64.b64decode(data_url.partition(",")[2]), prompt="make it red")
