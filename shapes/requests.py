"""The requests that a variant is graded and timed with: prompts to draw, scenes to ask about. Runs nothing."""

from __future__ import annotations

from collections.abc import Sequence

from flashu_core import GenerateRequest, UnderstandRequest
from shapes.prompts import Prompt
from shapes.questions import Question
from shapes.render import render
from shapes.scene import Scene
from shapes.studies import Variant

ANSWER_TOKENS = 8


def drawings(
    prompts: Sequence[Prompt],
    variant: Variant,
    *,
    guidance_scale: float | None = None,
    num_inference_steps: int | None = None,
) -> list[GenerateRequest]:
    """A picture of each prompt, its place in the list as its seed."""
    return [
        GenerateRequest(
            prompt=prompt.text,
            seed=index,
            acceleration=variant.policy,
            overrides=variant.of("generate"),
            guidance_scale=guidance_scale,
            num_inference_steps=num_inference_steps,
        )
        for index, prompt in enumerate(prompts)
    ]


def askings(asked: Sequence[tuple[Scene, Question]], variant: Variant, *, pixels: int) -> list[UnderstandRequest]:
    """A question about each scene, rendered at `pixels`."""
    return [
        UnderstandRequest(
            question=question.text,
            image=render(scene, pixels),
            max_new_tokens=ANSWER_TOKENS,
            acceleration=variant.policy,
            overrides=variant.of("vqa"),
        )
        for scene, question in asked
    ]
