from __future__ import annotations

from random import Random

import numpy as np
import pytest

from shapes.land.measures import answer_grades, distances, features, picture_grades
from shapes.land.prompts import grading_prompts, grading_questions
from shapes.land.scenes import any_scene, painted

SCENES = [any_scene(Random(seed)) for seed in range(240)]
IMAGES = [painted(scene, 96) for scene in SCENES]


def test_true_answers_have_every_grade_and_none_have_none() -> None:
    asked = grading_questions(80, 3)
    true = answer_grades(asked, [question.answer for _, question in asked])
    assert {name: true[name]["mean"] for name in ("words", "sentences", "sentences_word_for_word")} == {  # type: ignore[index]
        "words": 1.0,
        "sentences": 1.0,
        "sentences_word_for_word": 1.0,
    }
    empty = answer_grades(asked, [""] * 80)
    assert empty["words"]["mean"] == empty["sentences"]["mean"] == 0.0  # type: ignore[index]


def test_blind_answers_grade_low() -> None:
    asked = grading_questions(160, 3)
    blind = answer_grades(asked, [asked[index - 8][1].answer for index in range(160)])
    assert blind["words"]["mean"] < 0.55  # type: ignore[operator,index]
    assert blind["sentences"]["mean"] < 0.2  # type: ignore[operator,index]


def test_pictures_of_other_scenes_seldom_meet_a_prompt() -> None:
    graded = picture_grades(grading_prompts(140, 3), IMAGES[:140])
    assert graded["overall"]["count"] == 140 and graded["overall"]["mean"] < 0.15  # type: ignore[operator,index]
    assert set(graded) == {"overall", "categories", "held_out"} and len(graded["categories"]) == 7  # type: ignore[arg-type]


def test_true_pictures_are_near_true_ones_and_others_are_not() -> None:
    reference = features(IMAGES[:120])
    true, blank = (
        distances(images, reference) for images in (IMAGES[120:], [np.full_like(image, 200) for image in IMAGES[120:]])
    )
    blurred = distances([image.reshape(24, 4, 24, 4, 3).mean((1, 3)).repeat(4, 0).repeat(4, 1).astype(np.uint8)
                         for image in IMAGES[120:]], reference)  # fmt: skip
    assert true["frechet"] < blurred["frechet"] < blank["frechet"]  # type: ignore[operator,index]
    assert true["kernel"] < blurred["kernel"] < blank["kernel"]  # type: ignore[operator,index]
    assert distances(IMAGES[:120], reference)["frechet"] == pytest.approx(0.0, abs=1e-3)  # type: ignore[index]
