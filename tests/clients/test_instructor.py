"""instructor: plain answers pass, and what the model cannot do is refused in words that its users see."""

from __future__ import annotations

from typing import Any

import instructor
import openai
import pytest
from instructor.v2.core.errors import InstructorRetryException
from pydantic import BaseModel


class Colour(BaseModel):
    colour: str


@pytest.fixture
def client(server: Any) -> Any:
    return lambda mode: instructor.from_openai(
        openai.OpenAI(base_url=server.api, api_key="none", max_retries=0), mode=mode
    )


def test_plain_answers(client: Any, server: Any, data_url: str) -> None:
    requested = [{"role": "user", "content": ["What colour is the square?", instructor.Image.from_base64(data_url)]}]
    answer = client(instructor.Mode.TOOLS).chat.completions.create(
        model=server.model, messages=requested, response_model=None
    )
    assert answer.choices[0].message.content == "blue"


@pytest.mark.parametrize("mode", [instructor.Mode.TOOLS, instructor.Mode.JSON, instructor.Mode.JSON_SCHEMA])
def test_schemas_are_not_supported(client: Any, mode: instructor.Mode, server: Any) -> None:
    requested = [{"role": "user", "content": "what is red?"}]
    with pytest.raises(InstructorRetryException, match="not supported by this model"):
        client(mode).chat.completions.create(
            model=server.model, messages=requested, response_model=Colour, max_retries=0
        )
