"""Checks that equal requests give equal results: hashes of every image's pixels and every answer's text, kept in a file
and compared with it.

Requests that run alone must give bitwise equal results. In a batch, rounding depends on the other requests, and which
requests share a batch depends on timing: there a difference is reported, with its size if both images are kept, and
left to the reader.

The file is JSON: `format` 1; `replay`, `alone` or `arrivals`; `settings` of the run that wrote it; `pictures`, the
folder of its images, or null; `requests`, by keys such as `generate/17`, each with `request` (SHA-256 of the body),
`pictures` (SHA-256 of shape and pixels of each image) and `answer` (null for an image).
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from flashu_core.reasons import reason_of
from flashu_core.types import Task
from load_tests.bench.answer import read_answer
from load_tests.bench.client import Message, Reply

Replay = Literal["arrivals", "alone"]
HashVerdict = Literal["written", "same", "nondeterministic", "differs in a batch", "nothing to compare"]
_FORMAT = 1
_FILES = ("PNG", "JPEG", "WEBP")


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """Comparable part of a request's result; hashes in hexadecimal."""

    request: str
    pictures: Sequence[str] = ()
    answer: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """Two results of one request.

    Attributes:
        what: `answer`, `pixels`, or `shape` (including a different number of images).
        largest, mean: difference of pixels, in levels of 255; None unless both images are kept.
        answers: before and now.
    """

    key: str
    what: Literal["answer", "pixels", "shape"]
    largest: int | None = None
    mean: float | None = None
    answers: tuple[str | None, str | None] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Compared:
    """Comparison of a run with the file.

    Attributes:
        compared: number of requests in both.
        only_before, only_now: number of requests in one of them only: the other run was shorter, or they were refused.
        differences: among the compared requests.
    """

    verdict: HashVerdict
    compared: int = 0
    only_before: int = 0
    only_now: int = 0
    differences: Sequence[Difference] = ()

    @property
    def failed(self) -> bool:
        return self.verdict in ("nondeterministic", "nothing to compare")

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


class Results:
    """Keeps a run's replies in memory and parses them afterwards: decoding images takes CPU time that the load
    needs."""

    def __init__(self) -> None:
        self._kept: list[tuple[Message, Reply]] = []

    def keep(self, message: Message, reply: Reply) -> None:
        if reply.status == 200 and reply.error is None:
            self._kept.append((message, reply))

    def read(self, folder: Path | None = None) -> tuple[dict[str, Result], dict[str, list[NDArray[np.uint8]]]]:
        """Results and pixels by key; also writes the images to `folder`."""
        results: dict[str, Result] = {}
        pixels: dict[str, list[NDArray[np.uint8]]] = {}
        for message, reply in self._kept:
            answer = read_answer(reply)
            if answer.failure is not None:
                continue
            images = [_pixels(base64.b64decode(picture)) for picture in answer.pictures]
            pixels[message.key] = images
            results[message.key] = Result(
                request=_hash(message),
                pictures=[hash_pixels(one) for one in images],
                answer=answer.text,
            )
            if folder is not None:
                folder.mkdir(parents=True, exist_ok=True)
                for index, one in enumerate(images):
                    Image.fromarray(one).save(folder / _file(message.key, index))
        return results, pixels


def hash_pixels(pixels: NDArray[np.uint8]) -> str:
    """SHA-256 of shape and bytes."""
    shape = "x".join(str(length) for length in pixels.shape)
    return hashlib.sha256(f"{shape}:".encode() + np.ascontiguousarray(pixels).tobytes()).hexdigest()


def write_or_compare(
    path: Path, results: Results, *, replay: Replay, settings: Mapping[str, Any], folder: Path | None = None
) -> Compared:
    """Writes the file if it does not exist, compares with it if it does.

    Args:
        settings: options that the requests depend on.
        folder: where images are kept.

    Raises:
        ValueError: the file is not one of this format.
    """
    before = read_hashes(path) if path.exists() else None
    now, pixels = results.read(folder)
    if before is None:
        kept = {key: asdict(result) for key, result in now.items()}
        place = None if folder is None else str(folder.resolve())
        content = {"format": _FORMAT, "replay": replay, "settings": settings, "pictures": place, "requests": kept}
        path.write_text(json.dumps(content, indent=1) + "\n")
        return Compared(verdict="written" if kept else "nothing to compare", only_now=len(kept))
    then = {key: Result(**one) for key, one in before["requests"].items()}
    common = [key for key in now if key in then]
    place = before["pictures"]
    differences = [
        _difference(key, then[key], now[key], pixels[key], None if place is None else Path(place))
        for key in common
        if (then[key].pictures, then[key].answer) != (now[key].pictures, now[key].answer)
    ]
    return Compared(
        verdict=_verdict(bool(common), bool(differences), alone=replay == before["replay"] == "alone"),
        compared=len(common),
        only_before=len(then) - len(common),
        only_now=len(now) - len(common),
        differences=differences,
    )


def read_hashes(path: Path) -> dict[str, Any]:
    """Reads a file that `write_or_compare` wrote.

    Raises:
        ValueError: it is not such a file.
    """
    try:
        content = json.loads(path.read_text())
    except OSError as error:
        raise ValueError(f"{path} cannot be read as hashes: {reason_of(error)}") from None
    except ValueError:
        raise ValueError(f"{path} cannot be read as hashes: it is not JSON") from None
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise ValueError(f"{path} is not a hashes file of format {_FORMAT}; name a new file to write one")
    return content


def check_requests(
    path: Path,
    message: Callable[[Task, int], Message],
    settings: Mapping[str, Any],
    *,
    folder: Path | None = None,
) -> None:
    """Checks, before a run, that the file is of the same requests.

    Args:
        message: the run's message by task and number.
        settings: options that the requests depend on.
        folder: where the run's images are kept.

    Raises:
        ValueError: the file is of other requests or another format, or its images would be overwritten.
    """
    before = read_hashes(path)
    if folder is not None and before["pictures"] == str(folder.resolve()):
        raise ValueError(f"{folder} holds the images of {path}; use another folder for those of this run")
    for key, one in before["requests"].items():
        task, _, index = key.partition("/")
        if _hash(message(task, int(index))) != one["request"]:
            raise ValueError(
                f"{path} is of other requests, for example {key}: it was written with {before['settings']}, this run "
                f"has {dict(settings)}; use the same settings, or another file"
            )


def _hash(message: Message) -> str:
    return hashlib.sha256(message.body).hexdigest()


def _verdict(some: bool, different: bool, *, alone: bool) -> HashVerdict:
    if not some:
        return "nothing to compare"
    if not different:
        return "same"
    return "nondeterministic" if alone else "differs in a batch"


def _difference(
    key: str, then: Result, now: Result, pixels: Sequence[NDArray[np.uint8]], folder: Path | None
) -> Difference:
    if then.answer != now.answer:
        return Difference(key=key, what="answer", answers=(then.answer, now.answer))
    if len(then.pictures) != len(now.pictures):
        return Difference(key=key, what="shape")
    amounts: list[NDArray[np.int16]] = []
    for index, images in enumerate(pixels):
        path = None if folder is None else folder / _file(key, index)
        if path is None or not path.exists():
            return Difference(key=key, what="pixels")
        old = _pixels(path.read_bytes())
        if old.shape != images.shape:
            return Difference(key=key, what="shape")
        amounts.append(np.abs(old.astype(np.int16) - images.astype(np.int16)))
    return Difference(
        key=key,
        what="pixels",
        largest=max(int(one.max()) for one in amounts),
        mean=float(np.mean([one.mean() for one in amounts])),
    )


def _pixels(file: bytes) -> NDArray[np.uint8]:
    """Decoded pixels of shape (height, width, 3)."""
    with Image.open(io.BytesIO(file), formats=_FILES) as image:
        return np.asarray(image.convert("RGB"))


def _file(key: str, index: int) -> str:
    return f"{key.replace('/', '-')}-{index}.png"
