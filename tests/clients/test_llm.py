"""Simon Willison's `llm`, on the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

MODELS = """
- {{model_id: flashu, model_name: {model}, api_base: "{api}", vision: true}}
- {{model_id: flashu-text, model_name: {model}, api_base: "{api}", completion: true}}
"""


@pytest.fixture
def llm(server: Any, tmp_path: Path, tool: Any) -> Any:
    (tmp_path / "extra-openai-models.yaml").write_text(MODELS.format(model=server.model, api=server.api))

    def run(*arguments: str) -> str:
        return tool("llm", *arguments, cwd=tmp_path, LLM_USER_PATH=str(tmp_path), OPENAI_API_KEY="none").strip()

    return run


def test_text(llm: Any) -> None:
    streamed = llm("-m", "flashu", "what is red?")
    assert streamed == llm("-m", "flashu", "--no-stream", "what is red?") != ""
    assert llm("-m", "flashu-text", "what is red?")


def test_a_picture(llm: Any, tmp_path: Path, picture: bytes) -> None:
    (tmp_path / "square.png").write_bytes(picture)
    assert llm("-m", "flashu", "-a", "square.png", "What colour is the square?") == "blue"
    assert llm("-c", "What colour is the square?") == "blue"  # the next turn


def test_options_and_a_system_prompt(llm: Any) -> None:
    options = ["-o", "temperature", "0.5", "-o", "max_tokens", "10", "-o", "seed", "3", "-o", "top_p", "0.9"]
    options += ["-o", "frequency_penalty", "0", "-o", "logit_bias", "{}"]
    assert llm("-m", "flashu", "-s", "Be brief", *options, "what is red?")
