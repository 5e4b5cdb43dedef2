"""Runs both tasks once with policy `exact` and computes what the figures show of neurons, layers and tokens.

One picture per prompt and one answer per question serve all figures, and the scores of a calibration as well.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.progress import Progress
from torch import Tensor

from flashu_core.acceleration.calibration import QUESTIONS, Calibration, Sample, activation_norms, importances
from flashu_core.analysis.similarity import Similarity, mean_similarity, similarities
from flashu_core.analysis.specialisation import Specialisation, ffn_inputs, specialisation
from flashu_core.analysis.tokens import TokenLayer, image_attention, token_layers
from flashu_core.engine.engine import Engine
from flashu_core.errors import ConfigurationError
from flashu_core.model.showo2 import Showo2
from flashu_core.reasons import reason_of
from flashu_core.types import GenerateRequest, Pixels, Task, UnderstandRequest

MAX_PICTURES = 8


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Study:
    """Results of a study.

    Attributes:
        pictures: one question about each different picture, for at most 8 pictures.
        calibration: importances of the neurons, measured in the same runs.
    """

    specialisation: Specialisation
    generation: Similarity
    answering: Similarity
    tokens: Sequence[TokenLayer]
    pictures: Sequence[Sample]
    calibration: Calibration


def read_prompts(path: Path) -> list[str]:
    """Prompts of a text file, one per line; empty lines are ignored.

    Raises:
        ConfigurationError: the file cannot be read or holds no prompts.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"{path} cannot be read: {reason_of(error)}; give a text file with one prompt per line"
        ) from error
    prompts = [line.strip() for line in lines if line.strip()]
    if not prompts:
        raise ConfigurationError(f"{path} holds no prompts; write one per line")
    return prompts


def each_picture(samples: Sequence[Sample], maximum: int = MAX_PICTURES) -> list[Sample]:
    """The first sample of each different picture, of the first `maximum` pictures."""
    found: dict[str, Sample] = {}
    for sample in samples:
        found.setdefault(hashlib.sha256(f"{sample.image.shape}".encode() + sample.image.tobytes()).hexdigest(), sample)
    return list(found.values())[:maximum]


def study(
    engine: Engine,
    model: Showo2,
    prompts: Sequence[str],
    samples: Sequence[Sample] | None,
    *,
    max_new_tokens: int,
    progress: Progress,
) -> Study:
    """Generates, answers and measures.

    Args:
        engine: not calibrated, so that its neurons are in the checkpoint's order.
        model: the engine's.
        prompts: one picture is generated for each, with its index as the seed.
        samples: pictures with a question each; by default the calibration's questions about the generated pictures.
        max_new_tokens: maximum length of an answer.
        progress: shows progress bars.
    """
    assert not engine.calibrated
    scores: dict[Task, Tensor] = {}
    inputs: dict[Task, list[Tensor]] = {}
    generated: list[Pixels] = []
    generation, answering, received = [], [], []
    with activation_norms(model) as norms, ffn_inputs(model) as tokens:
        for seed, text in enumerate(progress.track(prompts, description="generating")):
            with similarities(model, "generate") as cosines:
                generated.append(
                    engine.generate(GenerateRequest(prompt=text, seed=seed, acceleration="exact")).images[0]
                )
            generation.append(cosines())
        scores["generate"], inputs["generate"] = importances(model, norms()), tokens()
    requested = samples if samples is not None else [Sample(image, text) for image in generated for text in QUESTIONS]
    pictures = each_picture(requested)

    def request(sample: Sample) -> UnderstandRequest:
        return UnderstandRequest(
            question=sample.question, image=sample.image, max_new_tokens=max_new_tokens, acceleration="exact"
        )

    with activation_norms(model) as norms, ffn_inputs(model) as tokens:
        for sample in progress.track(requested, description="answering"):
            with similarities(model, "vqa") as cosines:
                engine.understand(request(sample))
            answering.append(cosines())
        scores["vqa"], inputs["vqa"] = importances(model, norms()), tokens()
    for sample in progress.track(pictures, description="measuring image tokens"):
        with image_attention(model) as found:
            engine.understand(request(sample))
        received.append(found())
    return Study(
        specialisation=specialisation(model, scores, inputs),
        generation=mean_similarity("generate", generation),
        answering=mean_similarity("vqa", answering),
        tokens=token_layers(received),
        pictures=pictures,
        calibration=engine.as_calibration(scores, prompts, requested),
    )
