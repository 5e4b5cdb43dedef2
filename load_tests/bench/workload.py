"""The requests of a benchmark, numbered per task; each depends only on the seed and its number. The same seed gives the
same requests, with the same seeds, at any rate and duration.

Prompts, images and questions are the caller's, or come from the embedded model's own world.
"""

from __future__ import annotations

import base64
import json
import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flashu_core.reasons import reason_of
from flashu_core.types import Task
from load_tests.bench.bodies import png_base64
from load_tests.bench.client import Message
from load_tests.bench.slo import TASKS
from shapes.prompts import grading_prompts, grading_questions
from shapes.render import render

_PATHS: Mapping[Task, str] = {"generate": "/v1/generate", "vqa": "/v1/vqa"}
_ENDINGS = frozenset({".png", ".jpg", ".jpeg", ".webp", ".gif"})
_QUESTIONS = ("what is in this picture?", "which colours does it show?", "how many things are there?")
_KINDS = 48
_PIXELS = 96
_SEEDS = 2**31


@dataclass(frozen=True, kw_only=True, slots=True)
class Wishes:
    """Options of all requests; None leaves one to the server's default.

    Attributes:
        size: WIDTHxHEIGHT of an image.
        stream: request server-sent events.
    """

    acceleration: str | None = None
    num_inference_steps: int | None = None
    size: str | None = None
    max_new_tokens: int | None = 16
    stream: bool = False

    def fields(self, task: Task) -> dict[str, Any]:
        own: dict[str, Any] = {"acceleration": self.acceleration, "stream": self.stream or None}
        if task == "generate":
            own |= {"num_inference_steps": self.num_inference_steps, "size": self.size}
        else:
            own |= {"max_new_tokens": self.max_new_tokens}
        return {name: value for name, value in own.items() if value is not None}


class Workload:
    """An endless sequence of requests of each task.

    Args:
        prompts: file with one prompt per line; blank lines are skipped.
        images: folder of image files, sent unchanged.
        questions: file with one question per line, for any image.

    Raises:
        ValueError: a file or folder cannot be read or is empty.
    """

    def __init__(
        self,
        seed: int,
        wishes: Wishes,
        *,
        prompts: Path | None = None,
        images: Path | None = None,
        questions: Path | None = None,
    ) -> None:
        self._seed = seed
        self._sent: Counter[Task] = Counter()
        texts = [prompt.text for prompt in grading_prompts(_KINDS, seed)] if prompts is None else _lines(prompts)
        own = grading_questions(_KINDS, seed)
        requested = None if questions is None else _lines(questions)
        if images is None:
            pairs = [
                (png_base64(render(scene, _PIXELS)), [question.text] if requested is None else requested)
                for scene, question in own
            ]
        else:
            pairs = [(picture, requested or list(_QUESTIONS)) for picture in _pictures(images)]
        # All but the seed is encoded here, so that sending takes no time for encoding.
        self._bodies: dict[Task, list[list[bytes]]] = {
            "generate": [[_encoded({"prompt": text, **wishes.fields("generate")})] for text in texts],
            "vqa": [
                [_encoded({"question": text, **wishes.fields("vqa"), "image": picture}) for text in texts_of]
                for picture, texts_of in pairs
            ],
        }

    def next(self, task: Task) -> Message:
        """The task's next request; its key is such as `vqa/17`."""
        index = self._sent[task]
        self._sent[task] += 1
        return self.message(task, index)

    def message(self, task: Task, index: int) -> Message:
        """A request by its number."""
        rng = random.Random(f"{self._seed}/{task}/{index}")
        body = rng.choice(rng.choice(self._bodies[task]))
        seeded = b'{"seed": %d, ' % rng.randrange(_SEEDS) + body[1:]
        return Message(path=_PATHS[task], body=seeded, key=f"{task}/{index}")


def parse_mix(text: str) -> dict[Task, float]:
    """Parses shares such as `generate=0.3,vqa=0.7` and normalises them; a task that is not named has none.

    Raises:
        ValueError: the text is malformed.
    """
    found: dict[Task, float] = {}
    for term in text.split(","):
        name, _, value = term.strip().partition("=")
        task = next((task for task in TASKS if task == name), None)
        if task is None or task in found:
            raise ValueError(f"the mix has {name!r}; it names each of {' and '.join(TASKS)} at most once")
        try:
            found[task] = float(value)
        except ValueError:
            raise ValueError(f"the share of {task} is {value!r}; write a number, as in generate=0.3,vqa=0.7") from None
        if not 0.0 <= found[task] <= 1e6:
            raise ValueError(f"the share of {task} is {value}; it must be at least 0")
    total = sum(found.values())
    if total <= 0:
        raise ValueError("the shares of the mix are all 0; at least one must be above 0")
    return {task: share / total for task, share in found.items() if share > 0}


def _lines(path: Path) -> list[str]:
    try:
        found = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} cannot be read: {reason_of(error)}") from None
    if not found:
        raise ValueError(f"{path} is empty; write one text per line")
    return found


def _pictures(folder: Path) -> list[str]:
    """Files as base64, in order of their names."""
    try:
        paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in _ENDINGS)
        found = [base64.b64encode(path.read_bytes()).decode() for path in paths]
    except OSError as error:
        raise ValueError(f"{folder} cannot be read: {reason_of(error)}") from None
    if not found:
        raise ValueError(f"{folder} holds no images; their names must end with one of {', '.join(sorted(_ENDINGS))}")
    return found


def _encoded(body: Mapping[str, Any]) -> bytes:
    return json.dumps(body).encode()
