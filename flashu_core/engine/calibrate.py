"""Measures which FFN neurons matter to each task, with the engine's own requests, and finds where that is kept."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor

from flashu_core.acceleration.calibration import (
    FILE,
    QUESTIONS,
    Calibration,
    Sample,
    activation_norms,
    data_hash,
    importances,
)
from flashu_core.checkpoint.load import Checkpoint
from flashu_core.engine.context import Parts
from flashu_core.engine.sequential import Sequential
from flashu_core.types import GenerateRequest, Task, UnderstandRequest

MAX_NEW_TOKENS = 16  # of an answer that is measured


def calibration_files(checkpoint: Checkpoint) -> list[Path]:
    """Where a checkpoint's calibration may be: beside it, else in the user's cache."""
    places = [] if checkpoint.folder is None else [checkpoint.folder / FILE]
    with contextlib.suppress(RuntimeError):  # a user without a home has no cache
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        places.append(home / "flashu" / f"{checkpoint.digest}.safetensors")
    return places


def pruned_ratios(parts: Parts) -> dict[Task, float]:
    """The share of the neurons that each task's own path prunes: that of the default policy."""
    policy = parts.policies["flashu"]
    return {"generate": policy.generate.ffn_ratio, "vqa": policy.vqa.ffn_ratio}


def measure(sequential: Sequential, prompts: Sequence[str], samples: Sequence[Sample] | None) -> Calibration:
    """Generates and answers under policy `exact`, and scores every neuron by what it did.

    Args:
        sequential: runs requests on a model whose neurons are in the checkpoint's order.
        prompts: a picture is generated for each.
        samples: pictures with a question each; by default questions about the generated pictures.

    Raises:
        CalibrationError: there is nothing to measure on.
    """
    model = sequential.parts.model
    with activation_norms(model) as norms:
        generated = [
            sequential.generate(GenerateRequest(prompt=text, seed=seed, acceleration="exact")).images[0]
            for seed, text in enumerate(prompts)
        ]
        scores: dict[Task, Tensor] = {"generate": importances(model, norms())}
    if samples is None:
        samples = [Sample(image, text) for image in generated for text in QUESTIONS]
    with activation_norms(model) as norms:
        for sample in samples:
            sequential.understand(
                UnderstandRequest(
                    question=sample.question,
                    image=sample.image,
                    max_new_tokens=MAX_NEW_TOKENS,
                    acceleration="exact",
                )
            )
        scores["vqa"] = importances(model, norms())
    return with_provenance(sequential.parts, scores, prompts, samples)


def with_provenance(
    parts: Parts, scores: Mapping[Task, Tensor], prompts: Sequence[str], samples: Sequence[Sample]
) -> Calibration:
    """Scores with what they were measured on: this checkpoint, these prompts and samples."""
    return Calibration(
        scores=scores,
        ratios=pruned_ratios(parts),
        digest=parts.info.details["digest"],
        provenance={
            "prompts": str(len(prompts)),
            "samples": str(len(samples)),
            "data": data_hash(prompts, samples),
            "points": str(parts.info.num_inference_steps),
            "dtype": parts.info.dtype,
        },
    )
