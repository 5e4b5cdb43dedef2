from __future__ import annotations

from shapes.training.calibration import PROMPTS, SAMPLES, calibration_data


def test_the_same_data_each_time_and_other_data_elsewhere() -> None:
    prompts, samples = calibration_data(pixels=64)
    again, _ = calibration_data(pixels=64)
    others, _ = calibration_data(pixels=64, first=5)
    assert prompts == again != others
    assert len(set(prompts)) > PROMPTS // 2
    assert len(samples) == SAMPLES
    assert all(sample.image.shape == (64, 64, 3) and sample.question for sample in samples)
