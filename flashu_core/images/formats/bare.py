"""The bare file of a picture, the limits on what its parts may be, and how both are refused."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from flashu_core.errors import InvalidRequestError

PictureFormat = Literal["PNG", "JPEG", "WEBP", "GIF", "AVIF", "HEIC"]


@dataclass(frozen=True, kw_only=True, slots=True)
class FormatLimits:
    """How much a file may be made of, whatever its size in pixels.

    Attributes:
        max_parts: segments, chunks, blocks or items: each costs a step in somebody's interpreter.
        max_scans: of a progressive JPEG; a decoder walks through all pixels for each.
        max_scan_pixels: scans times width times height: a scan that refines others without a bit of its own costs a
            walk through all coefficients, and next to no bytes. Encoders make 10 scans or a few more.
        max_frames: of an animation, though only its first frame is read.
    """

    max_parts: int = 100_000
    max_scans: int = 100
    max_scan_pixels: int = 2_000_000_000
    max_frames: int = 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class Bare:
    """A file with nothing but what its first frame's pixels are decoded from.

    Attributes:
        size: width and height as the header declares them; None where only the decoder can tell.
        orientation: 1 to 8, as in EXIF: how to turn the pixels.
        depth: bytes of memory per pixel that decoding takes beside the picture itself.
        scans: of a JPEG.
        ended: a JPEG has its end marker; without one, whether all pixels are there must be seen from them.
    """

    format: PictureFormat
    data: bytes
    size: tuple[int, int] | None
    orientation: int = 1
    depth: float = 0.0
    scans: int = 0
    ended: bool = True


class Parts:
    """Counts what a file is made of, up to the limit."""

    def __init__(self, limits: FormatLimits) -> None:
        self._limits = limits
        self._parts = self._frames = self.scans = 0

    def part(self) -> None:
        self._parts += 1
        if self._parts > self._limits.max_parts:
            raise refused(f"image has more than {self._limits.max_parts} segments, chunks or blocks; save it anew")

    def frame(self) -> None:
        self._frames += 1
        if self._frames > self._limits.max_frames:
            raise refused(f"image has more than {self._limits.max_frames} frames; send one of them")

    def scan(self) -> None:
        self.scans += 1
        if self.scans > self._limits.max_scans:
            raise refused(f"image has more than {self._limits.max_scans} scans; save it as a baseline JPEG")


def refused(message: str) -> InvalidRequestError:
    """The error that a client is shown; it says what to send instead."""
    return InvalidRequestError(message, parameter="image")


def damaged() -> InvalidRequestError:
    """The error of a file that breaks its format's rules, or ends too early."""
    return refused("image is damaged or cut short; send the whole file")
