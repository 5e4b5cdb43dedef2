"""llama-index's OpenAILike, for chats and, as it is by default, for text."""

from __future__ import annotations

from typing import Any

import pytest
from llama_index.core.llms import ChatMessage, ImageBlock, TextBlock
from llama_index.llms.openai_like import OpenAILike


@pytest.fixture
def model(server: Any) -> Any:
    return lambda **options: OpenAILike(
        model=server.model, api_base=server.api, api_key="none", max_retries=0, **options
    )


def test_chat(model: Any, picture: bytes) -> None:
    chat = model(is_chat_model=True)
    blocks = [TextBlock(text="What colour is the square?"), ImageBlock(image=picture)]
    assert chat.chat([ChatMessage(role="user", blocks=blocks)]).message.content == "blue"
    requested = [ChatMessage(role="system", content="Be brief."), ChatMessage(role="user", content="what is red?")]
    answer = chat.chat(requested).message.content
    assert "".join(chunk.delta or "" for chunk in chat.stream_chat(requested)) == answer != ""


def test_text_alone(model: Any) -> None:
    text = model()
    answer = text.complete("what is red?").text
    assert "".join(chunk.delta or "" for chunk in text.stream_complete("what is red?")) == answer != ""
    assert text.chat([ChatMessage(role="user", content="what is red?")]).message.content
