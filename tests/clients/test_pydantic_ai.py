"""pydantic-ai by both of OpenAI's routes."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from pydantic_ai import Agent, BinaryContent
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.openai import OpenAIProvider


@pytest.fixture(params=[OpenAIChatModel, OpenAIResponsesModel], ids=["chat", "responses"])
def agent(request: pytest.FixtureRequest, server: Any) -> Agent:
    provider = OpenAIProvider(base_url=server.api, api_key="none")
    return Agent(request.param(server.model, provider=provider), instructions="Be brief", system_prompt="You look.")


def test_text_and_a_picture(agent: Agent, picture: bytes) -> None:
    first = agent.run_sync("what is red?")
    assert first.output
    requested = ["What colour is the square?", BinaryContent(picture, media_type="image/png")]
    seen = agent.run_sync(requested, message_history=first.all_messages())
    assert seen.output == "blue"
    assert agent.run_sync("What colour is the square?", message_history=seen.all_messages()).output == "blue"
    assert seen.usage.output_tokens >= 1


def test_a_stream(agent: Agent) -> None:
    async def read() -> str:
        async with agent.run_stream("what is red?") as stream:
            return "".join([piece async for piece in stream.stream_text(delta=True, debounce_by=None)])

    assert asyncio.run(read())
