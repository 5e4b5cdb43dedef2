"""Reads the pictures and questions that a calibration is measured on. Knows files, not models."""

from __future__ import annotations

import json
from pathlib import Path

from flashu_core.calibration import Sample
from flashu_core.errors import CalibrationError, InvalidRequestError
from flashu_core.picture_file import read_picture


def read_samples(path: Path) -> list[Sample]:
    """Samples of a `.jsonl` file: each line an object with `image` (a path, relative to the file's folder) and
    `question`.

    Raises:
        CalibrationError: the file, a line or a picture cannot be read; the message names the line.
    """
    samples = []
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise CalibrationError(f"{path} cannot be read: {error}") from error
    for number, line in enumerate(lines, start=1):
        if line.strip():
            samples.append(_sample(path, number, line))
    if not samples:
        raise CalibrationError(f'{path} holds no samples; write lines like {{"image": "a.png", "question": "..."}}')
    return samples


def _sample(path: Path, number: int, line: str) -> Sample:
    try:
        record = json.loads(line)
        file, question = record["image"], record["question"]
        if not isinstance(file, str) or not isinstance(question, str):
            raise CalibrationError(f"{path}, line {number}: image and question must be texts")
        return Sample(read_picture(path.parent / file), question)
    except (ValueError, KeyError, TypeError, OSError, InvalidRequestError) as error:
        raise CalibrationError(f"{path}, line {number}: {error!r}; it must name a picture and a question") from error
