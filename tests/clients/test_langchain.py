"""langchain-openai: its chat model, its model for text, and the same by the Responses API."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_openai import ChatOpenAI, OpenAI


@pytest.fixture
def options(server: Any) -> dict[str, Any]:
    return {"base_url": server.api, "api_key": "none", "model": server.model, "max_retries": 0}


@pytest.mark.parametrize("responses", [False, True])
def test_text_and_streams(options: Any, responses: bool) -> None:
    model = ChatOpenAI(**options, use_responses_api=responses)
    answer = model.invoke([SystemMessage("Be brief."), HumanMessage("what is red?")])
    assert answer.text
    assert "".join(chunk.text for chunk in model.stream("what is red?")) == answer.text
    talk = [HumanMessage("what is red?"), AIMessage(answer.content), HumanMessage("what is red?")]
    assert model.invoke(talk).text == answer.text


@pytest.mark.parametrize("responses", [False, True])
def test_a_picture(options: Any, responses: bool, looking: Any, data_url: str) -> None:
    model = ChatOpenAI(**options, use_responses_api=responses)
    assert model.invoke([HumanMessage(looking[0]["content"])]).text == "blue"
    own = {"type": "image", "base64": data_url.partition(",")[2], "mime_type": "image/png"}
    assert model.invoke([HumanMessage([looking[0]["content"][0], own])]).text == "blue"


def test_a_picture_drawn_by_a_tool(options: Any, is_picture: Any) -> None:
    model = ChatOpenAI(**options, use_responses_api=True).bind_tools([{"type": "image_generation"}])
    answer = model.invoke("a red circle")
    (block,) = [block for block in answer.content_blocks if block["type"] == "image"]
    assert is_picture(block["base64"])


def test_text_alone(options: Any) -> None:
    model = OpenAI(**options)
    assert model.invoke("what is red?")
    assert len(model.generate(["what is red?", "what is blue?"]).generations) == 2
    assert "".join(model.stream("what is red?"))


def test_usage_and_log_probabilities(options: Any) -> None:
    answer = ChatOpenAI(**options, logprobs=True, top_logprobs=2, stream_usage=True).invoke("what is red?")
    assert answer.usage_metadata is not None and answer.usage_metadata["output_tokens"] >= 1
    assert answer.response_metadata["logprobs"]["content"]
