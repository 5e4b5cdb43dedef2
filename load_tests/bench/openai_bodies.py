"""Valid requests to the OpenAI-compatible routes."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from load_tests.bench.bodies import PIXELS, png_base64
from load_tests.bench.client import Message
from shapes.prompts import grading_prompts, grading_questions
from shapes.render import render

_KINDS = 16
_TOKENS = 8


def openai_bodies(model: str, seed: int) -> Callable[[random.Random], Message]:
    """A function that picks one of some dozens.

    Args:
        model: the server's name of it.
    """
    messages: list[Message] = []
    for prompt in grading_prompts(_KINDS, seed):
        messages.append(_message("images/generations", model, prompt=prompt.text, response_format="b64_json"))
        messages.append(_message("chat/completions", model, messages=_said(f"draw {prompt.text}")))
        messages.append(_message("completions", model, prompt=prompt.text, max_tokens=_TOKENS))
    for scene, question in grading_questions(_KINDS, seed):
        url = f"data:image/png;base64,{png_base64(render(scene, PIXELS))}"
        requested: list[Mapping[str, Any]] = [
            {"type": "text", "text": question.text},
            {"type": "image_url", "image_url": {"url": url}},
        ]
        for stream in (False, True):
            turns = _said(requested)
            messages.append(_message("chat/completions", model, messages=turns, stream=stream, max_tokens=_TOKENS))
        messages.append(_message("responses", model, input=question.text, max_output_tokens=_TOKENS))
    return lambda rng: rng.choice(messages)


def _said(content: str | Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [{"role": "user", "content": content}]


def _message(route: str, model: str, **fields: object) -> Message:
    return Message(path=f"/v1/{route}", body=json.dumps({"model": model, **fields}).encode())
