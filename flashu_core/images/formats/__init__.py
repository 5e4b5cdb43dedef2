"""Parsers of picture files that decode no pixels, one format a module. Each reduces a file to a bare one with the first
frame's pixels and nothing else, so that no decoder sees metadata, later frames or decompression bombs.
"""

from __future__ import annotations

from flashu_core.images.formats.bare import Bare, FormatLimits, PictureFormat, damaged, refused
from flashu_core.images.formats.bmff import bare_bmff
from flashu_core.images.formats.gif import bare_gif
from flashu_core.images.formats.jpeg import bare_jpeg
from flashu_core.images.formats.png import bare_png
from flashu_core.images.formats.webp import bare_webp

__all__ = ["Bare", "FormatLimits", "PictureFormat", "bare_file", "damaged", "refused"]


def bare_file(data: bytes, limits: FormatLimits) -> Bare | None:
    """The bare file of a picture, or None for an unknown format.

    Raises:
        InvalidRequestError: the file is damaged before its pixels, or has too many parts, scans or frames.
    """
    if data.startswith(b"\xff\xd8\xff"):
        return bare_jpeg(data, limits)
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return bare_png(data, limits)
    if data.startswith((b"GIF87a", b"GIF89a")):
        return bare_gif(data, limits)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return bare_webp(data, limits)
    if data[4:8] == b"ftyp":
        return bare_bmff(data, limits)
    return None
