"""Request bodies: prompts, and questions about 96 x 96 images, from the embedded model's own world. Encoded once
before the load, so that sending takes no time for encoding."""

from __future__ import annotations

import base64
import io
import json
import random
from typing import Any

from PIL import Image

from flashu_core.types import Task
from load_tests.bench.client import Message
from shapes.prompts import grading_prompts, grading_questions
from shapes.render import render

PIXELS = 96
ANSWER_TOKENS = 16
_KINDS = 48


class Bodies:
    """An endless supply of requests of both tasks, in an order determined by the seed."""

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(seed)
        generations = [
            {"prompt": prompt.text, "seed": index} for index, prompt in enumerate(grading_prompts(_KINDS, seed))
        ]
        questions = [
            {"question": question.text, "image": png_base64(render(scene, PIXELS)), "max_new_tokens": ANSWER_TOKENS}
            for scene, question in grading_questions(_KINDS, seed)
        ]
        self._messages: dict[Task, list[Message]] = {
            "generate": [Message(path="/v1/generate", body=_encoded(body)) for body in generations],
            "vqa": [Message(path="/v1/vqa", body=_encoded(body)) for body in questions],
        }

    def next(self, task: Task) -> Message:
        return self._rng.choice(self._messages[task])


def png_base64(pixels: Any) -> str:
    """A base64 PNG of pixels of shape (height, width, 3)."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def _encoded(body: dict[str, Any]) -> bytes:
    return json.dumps(body).encode()
