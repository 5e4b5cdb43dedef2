"""litellm as a library, and its bridges between OpenAI's routes."""

from __future__ import annotations

from typing import Any

import litellm
import pytest

TEXT: Any = [{"role": "user", "content": "what is red?"}]


@pytest.fixture
def options(server: Any) -> dict[str, Any]:
    return {"api_base": server.api, "api_key": "none"}


@pytest.mark.parametrize("provider", ["openai", "custom_openai", "hosted_vllm", "openai/responses"])
def test_chat(options: Any, provider: str, server: Any, looking: Any) -> None:
    model = f"{provider}/{server.model}"
    answer = litellm.completion(model=model, messages=looking, num_retries=0, **options)
    assert answer.choices[0].message.content == "blue"
    chunks = list(litellm.completion(model=model, messages=TEXT, stream=True, num_retries=0, **options))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks)


@pytest.mark.parametrize("provider", ["openai", "custom_openai", "hosted_vllm"])
def test_responses_and_the_bridge_to_chats(options: Any, provider: str, server: Any, data_url: str) -> None:
    model = f"{provider}/{server.model}"
    parts = [
        {"type": "input_text", "text": "What colour is the square?"},
        {"type": "input_image", "image_url": data_url},
    ]
    answer = litellm.responses(model=model, input=[{"role": "user", "content": parts}], **options)
    assert answer.output[0].content[0].text == "blue"
    events = [event.type for event in litellm.responses(model=model, input="what is red?", stream=True, **options)]
    assert events[-1] == "response.completed"


def test_pictures(options: Any, server: Any, is_picture: Any) -> None:
    model = f"openai/{server.model}"
    drawn = litellm.image_generation(prompt="a red circle", model=model, n=1, quality="standard", **options)
    assert is_picture(drawn.data[0].b64_json)
    turn = [{"role": "user", "content": "a red circle"}]
    message = litellm.completion(model=model, messages=turn, modalities=["image", "text"], **options).choices[0].message
    assert is_picture(message.images[0]["image_url"]["url"])


def test_text_alone(options: Any, server: Any) -> None:
    model = f"text-completion-openai/{server.model}"
    assert litellm.text_completion(prompt="what is red?", model=model, **options).choices[0].text


def test_models(options: Any, server: Any) -> None:
    found = litellm.get_valid_models(check_provider_endpoint=True, custom_llm_provider="openai", **options)
    assert found == [server.model]


def test_a_size_that_there_is_not(options: Any, server: Any) -> None:
    with pytest.raises(litellm.BadRequestError, match="64x64"):
        litellm.image_generation(prompt="a", model=f"openai/{server.model}", size="1024x1024", **options)
