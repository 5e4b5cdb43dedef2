"""What is measured of a variant's pictures and answers, as plain data. Runs no model but the detector."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from shapes.distances import Features, frechet, kernel_distance
from shapes.fidelity import Fidelity
from shapes.land.detector import tensor_of, trained
from shapes.land.grading import judge, right
from shapes.land.prompts import Prompt
from shapes.land.questions import SENTENCES, Question
from shapes.land.sentences import plain
from shapes.land.things import Scene
from shapes.scores import Mean, score, share

Data: TypeAlias = Mapping[str, "float | int | Data"]
_BATCH = 100


def picture_grades(prompts: Sequence[Prompt], images: Sequence[NDArray[np.uint8]]) -> dict[str, Data]:
    """Shares of prompts that their pictures meet: overall, by category, and of what training never showed."""
    met = judge(prompts, images)
    scored = score((prompt.category, good) for prompt, good in zip(prompts, met, strict=True))
    grades: dict[str, Data] = {"overall": rounded(scored.overall), "categories": _by_name(scored.categories)}
    if held_out := [good for prompt, good in zip(prompts, met, strict=True) if prompt.held_out]:
        grades["held_out"] = rounded(share(held_out))
    return grades


def answer_grades(asked: Sequence[tuple[Scene, Question]], answers: Sequence[str]) -> dict[str, Data]:
    """Shares of questions answered rightly: in one word, in sentences, by kind; sentences also word for word."""
    graded: dict[str, list[bool]] = {}
    kinds: dict[str, list[bool]] = {}
    for (scene, question), answer in zip(asked, answers, strict=True):
        good = right(question, scene, answer)
        kinds.setdefault(question.kind, []).append(good)
        graded.setdefault("sentences" if question.kind in SENTENCES else "words", []).append(good)
        if question.kind in SENTENCES:
            graded.setdefault("sentences_word_for_word", []).append(plain(answer) == question.answer)
    shares = {name: share(values) for name, values in graded.items()}
    return {**_by_name(shares), "kinds": _by_name({name: share(values) for name, values in sorted(kinds.items())})}


@torch.no_grad()
def features(images: Sequence[NDArray[np.uint8]]) -> Features:
    """The detector's features of pictures, float64 (count, width)."""
    batches = [trained().features(tensor_of(images[first : first + _BATCH])) for first in range(0, len(images), _BATCH)]
    return torch.cat(batches).double().numpy()


def distances(images: Sequence[NDArray[np.uint8]], reference: Features) -> Data:
    """Fréchet and kernel distance of pictures to true ones of the same captions."""
    own = features(images)
    return {
        "frechet": round(frechet(own, reference), 4),
        "kernel": round(kernel_distance(own, reference), 5),
        "count": len(images),
    }


def plain_fidelity(found: Fidelity) -> dict[str, Data]:
    """The three paired measures with their intervals."""
    return {"psnr": rounded(found.psnr), "ssim": rounded(found.ssim), "latent_error": rounded(found.latent_error)}


def rounded(value: Mean) -> Data:
    """Mean, interval and count as plain data."""
    return {name: round(number, 4) for name, number in asdict(value).items()}


def _by_name(shares: Mapping[str, Mean]) -> dict[str, Data]:
    return {name: rounded(value) for name, value in shares.items()}
