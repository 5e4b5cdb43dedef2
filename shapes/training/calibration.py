"""What the embedded checkpoint is calibrated on: captions to draw, and rendered scenes with a question each.

From training scenes, never graded ones.
"""

from __future__ import annotations

from flashu_core.acceleration.calibration import Sample
from shapes.land.captions import caption
from shapes.land.questions import questions
from shapes.land.scenes import painted, sample_scene
from shapes.seeds import training_rng

FIRST = 1_000_000  # far from the scenes whose latents are trained on
PROMPTS, SAMPLES = 8, 20


def calibration_data(*, pixels: int, first: int = FIRST) -> tuple[list[str], list[Sample]]:
    """Prompts and samples (arXiv 2603.15271, section 3.3.1: twenty of them), the same each time."""
    prompts = []
    for index in range(first, first + PROMPTS):
        rng = training_rng(index)
        prompts.append(caption(sample_scene(rng), rng))
    samples = []
    for index in range(first + PROMPTS, first + PROMPTS + SAMPLES):
        rng = training_rng(index)
        scene = sample_scene(rng)
        samples.append(Sample(painted(scene, pixels), questions(scene, rng, 1)[0].text))
    return prompts, samples
