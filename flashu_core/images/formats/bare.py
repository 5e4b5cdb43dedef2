"""The bare file of a picture, the limits on its parts, and the errors of both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from flashu_core.errors import InvalidRequestError

PictureFormat = Literal["PNG", "JPEG", "WEBP", "GIF", "AVIF", "HEIC"]


@dataclass(frozen=True, kw_only=True, slots=True)
class FormatLimits:
    """Limits of a file's parts, independent of its size in pixels.

    Attributes:
        max_parts: segments, chunks, blocks or items: each takes time to parse.
        max_scans: of a progressive JPEG; a decoder visits all pixels for each.
        max_scan_pixels: scans times width times height: an empty refinement scan has next to no bytes, but the decoder
            visits all coefficients. Encoders make about 10 scans.
        max_frames: of an animation, though only its first frame is read.
    """

    max_parts: int = 100_000
    max_scans: int = 100
    max_scan_pixels: int = 2_000_000_000
    max_frames: int = 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class Bare:
    """A file with nothing but the data of its first frame's pixels.

    Attributes:
        size: width and height in the header; None where only the decoder knows them.
        orientation: EXIF orientation, 1 to 8.
        depth: bytes of memory per pixel that decoding takes besides the picture itself.
        scans: number of scans of a JPEG.
        ended: whether a JPEG has its end marker; without one, the pixels must show whether the file is complete.
    """

    format: PictureFormat
    data: bytes
    size: tuple[int, int] | None
    orientation: int = 1
    depth: float = 0.0
    scans: int = 0
    ended: bool = True


class Parts:
    """Counts the parts of a file, up to the limits."""

    def __init__(self, limits: FormatLimits) -> None:
        self._limits = limits
        self._parts = self._frames = self.scans = 0

    def part(self) -> None:
        self._parts += 1
        if self._parts > self._limits.max_parts:
            raise refused(f"image has more than {self._limits.max_parts} segments, chunks or blocks; save it again")

    def frame(self) -> None:
        self._frames += 1
        if self._frames > self._limits.max_frames:
            raise refused(f"image has more than {self._limits.max_frames} frames; send one of them")

    def scan(self) -> None:
        self.scans += 1
        if self.scans > self._limits.max_scans:
            raise refused(f"image has more than {self._limits.max_scans} scans; save it as a baseline JPEG")


def refused(message: str) -> InvalidRequestError:
    """An error about the image; its message says what to send instead."""
    return InvalidRequestError(message, parameter="image")


def damaged() -> InvalidRequestError:
    """The error of a file that violates its format, or ends too early."""
    return refused("image is damaged or cut short; send the whole file")
