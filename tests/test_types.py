from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from flashu_core import GenerateRequest, InvalidRequestError, ModelInfo, UnderstandRequest

PICTURE = np.zeros((4, 4, 3), np.uint8)


@pytest.mark.parametrize(
    ("values", "parameter"),
    [
        ({"num_images": 0}, "num_images"),
        ({"num_images": 10**9}, "num_images"),
        ({"num_inference_steps": 1}, "num_inference_steps"),
        ({"guidance_scale": math.nan}, "guidance_scale"),
        ({"guidance_scale": math.inf}, "guidance_scale"),
        ({"guidance_scale": -1.0}, "guidance_scale"),
        ({"seed": -1}, "seed"),
        ({"seed": 2**63}, "seed"),
        ({"width": 64}, "size"),
        ({"deadline": math.inf}, "timeout_s"),
    ],
)
def test_impossible_generations_are_refused(values: dict[str, float], parameter: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        GenerateRequest(prompt="a circle", **values)  # type: ignore[arg-type]
    assert caught.value.parameter == parameter


@pytest.mark.parametrize(
    ("values", "parameter"),
    [
        ({"max_new_tokens": 0}, "max_new_tokens"),
        ({"temperature": math.nan}, "temperature"),
        ({"temperature": -0.1}, "temperature"),
        ({"top_p": 0.0}, "top_p"),
        ({"top_p": math.nan}, "top_p"),
        ({"seed": 2**64}, "seed"),
        ({"image": PICTURE.astype(np.float32)}, "image"),
        ({"image": PICTURE[:, :, 0]}, "image"),
        ({"image": PICTURE[:0]}, "image"),
    ],
)
def test_impossible_questions_are_refused(values: dict[str, object], parameter: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        UnderstandRequest(**{"question": "what?", "image": PICTURE, **values})  # type: ignore[arg-type]
    assert caught.value.parameter == parameter


def test_limits_themselves_are_allowed() -> None:
    generation = GenerateRequest(
        prompt="", num_images=8, num_inference_steps=2, guidance_scale=0.0, seed=2**63 - 1, width=64, height=64
    )
    understanding = UnderstandRequest(question="", image=PICTURE, max_new_tokens=1, temperature=0.0, top_p=1.0, seed=0)
    assert (generation.num_images, generation.seed, understanding.top_p) == (8, 2**63 - 1, 1.0)


def test_unknown_words_are_found_whatever_their_case_and_once() -> None:
    info = ModelInfo(
        name="any",
        parameters=1,
        dtype="float32",
        device="cpu",
        sizes=((64, 64),),
        num_inference_steps=5,
        guidance_scale=1.0,
        policies=("exact",),
        max_prompt_tokens=9,
        known_words=("a", "cat", "s"),
    )
    assert info.unknown_words("A cat, 3 DOGS; dogs and a cat's straße") == ("dogs", "and", "strasse")
    assert info.unknown_words("") == ()
    assert replace(info, known_words=()).unknown_words("dogs") == ()
