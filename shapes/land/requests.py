"""The requests that a variant is measured with: prompts to draw, scenes to ask about. Runs nothing."""

from __future__ import annotations

from collections.abc import Sequence

from flashu_core import GenerateRequest, UnderstandRequest
from shapes.land.questions import Question
from shapes.land.scenes import painted
from shapes.land.things import Scene
from shapes.studies import Variant

ANSWER_TOKENS = 48  # the longest description of a scene has 40


def pictures_of(prompts: Sequence[str], variant: Variant) -> list[GenerateRequest]:
    """A picture of each prompt with its latents; its place in the list is its seed."""
    return [
        GenerateRequest(
            prompt=prompt,
            seed=index,
            num_inference_steps=variant.num_inference_steps,
            acceleration=variant.policy,
            overrides=variant.of("generate"),
            output_latents=True,
        )
        for index, prompt in enumerate(prompts)
    ]


def answers_about(asked: Sequence[tuple[Scene, Question]], variant: Variant, *, pixels: int) -> list[UnderstandRequest]:
    """A question about each scene, painted with `pixels` a side."""
    return [
        UnderstandRequest(
            question=question.text,
            image=painted(scene, pixels),
            max_new_tokens=ANSWER_TOKENS,
            acceleration=variant.policy,
            overrides=variant.of("vqa"),
        )
        for scene, question in asked
    ]
