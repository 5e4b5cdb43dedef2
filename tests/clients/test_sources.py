"""Clients that are not installed here: the very requests that their sources make.

lmms-eval (0.7.3, `lmms_eval/models/chat/openai.py`) needs torchvision and timm, which bring a second torch.
"""

from __future__ import annotations

from typing import Any

import openai


def test_lmms_eval(server: Any, looking: Any) -> None:
    payload = {"messages": looking, "model": server.model, "max_tokens": 1024, "temperature": 0}
    options: Any = {"top_p": 1.0, "seed": 0, "presence_penalty": 0, "frequency_penalty": 0, "n": 1}
    thinking = {"chat_template_kwargs": {"enable_thinking": False}}
    with openai.OpenAI(base_url=server.api, api_key="none", max_retries=0) as client:
        answer = client.chat.completions.create(**payload, **options, extra_body=thinking)
    assert answer.choices[0].message.content == "blue"
    assert answer.usage is not None and answer.usage.completion_tokens >= 1
