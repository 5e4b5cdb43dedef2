"""Reads the pictures and questions for a calibration from a file."""

from __future__ import annotations

import json
from pathlib import Path

from flashu_core.acceleration.calibration import Sample
from flashu_core.errors import CalibrationError, InvalidRequestError
from flashu_core.images.decode import read_picture
from flashu_core.reasons import reason_of

_FORM = '{"image": "a.png", "question": "What is it?"}'


def read_samples(path: Path) -> list[Sample]:
    """Samples of a `.jsonl` file: each line an object with `image` (a path, relative to the file's folder) and
    `question`.

    Raises:
        CalibrationError: the file, a line or a picture is unreadable; the message names the line.
    """
    samples = []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise CalibrationError(f"{path} cannot be read: {reason_of(error)}") from error
    for number, line in enumerate(lines, start=1):
        if line.strip():
            samples.append(_sample(path, number, line))
    if not samples:
        raise CalibrationError(f"{path} has no samples; write lines like {_FORM}")
    return samples


def _sample(path: Path, number: int, line: str) -> Sample:
    place = f"{path}, line {number}"
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise CalibrationError(f"{place}: it is not JSON; write {_FORM}") from error
    if not isinstance(record, dict):
        raise CalibrationError(f"{place}: it is not an object; write {_FORM}")
    for field in ("image", "question"):
        if not isinstance(record.get(field), str):
            state = "must be a string" if field in record else "is missing"
            raise CalibrationError(f"{place}: {field} {state}; write {_FORM}")
    picture = path.parent / record["image"]
    try:
        return Sample(read_picture(picture), record["question"])
    except (OSError, ValueError, InvalidRequestError) as error:
        reason = str(error) if isinstance(error, InvalidRequestError) else reason_of(error)
        raise CalibrationError(f"{place}: {picture} cannot be read as a picture: {reason}") from error
