from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from flashu_core import Engine
from flashu_core.acceleration.calibration import TASKS, Sample
from flashu_core.analysis.study import Study, each_picture, read_prompts
from flashu_core.errors import ConfigurationError


def test_prompts_are_lines(tmp_path: Path) -> None:
    file = tmp_path / "prompts.txt"
    file.write_text("a red circle\n\n  two blue squares \n")
    assert read_prompts(file) == ["a red circle", "two blue squares"]


def test_a_file_without_prompts_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "prompts.txt"
    file.write_text("\n \n")
    with pytest.raises(ConfigurationError, match=r"prompts\.txt holds no prompts"):
        read_prompts(file)
    with pytest.raises(ConfigurationError, match="cannot be read"):
        read_prompts(tmp_path / "none.txt")
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        read_prompts(file)


def test_each_picture_is_asked_about_once() -> None:
    flat, tall = np.zeros((2, 8, 3), np.uint8), np.zeros((8, 2, 3), np.uint8)
    samples = [Sample(flat, "1"), Sample(flat.copy(), "2"), Sample(tall, "3"), Sample(flat + 1, "4")]
    assert [sample.question for sample in each_picture(samples)] == ["1", "3", "4"]
    assert [sample.question for sample in each_picture(samples, maximum=2)] == ["1", "3"]


def test_the_scores_are_a_calibrations(studied: Study, tiny_engine: Engine, prompts: tuple[str, ...]) -> None:
    """The engine's own calibration on the same prompts and answers of the same length finds the same for generation."""
    expected = tiny_engine.calibrate(prompts)
    for task in TASKS:
        assert studied.calibration.scores[task].shape == expected.scores[task].shape
    assert torch.allclose(studied.calibration.scores["generate"], expected.scores["generate"], rtol=1e-4)
    assert studied.calibration.provenance == expected.provenance
    assert studied.calibration.digest == "random"
