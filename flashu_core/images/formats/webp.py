"""WebP: chunks in a RIFF file."""

from __future__ import annotations

import struct

from flashu_core.images.formats.bare import Bare, FormatLimits, Parts, damaged
from flashu_core.images.formats.exif import orientation_of_exif, orientation_of_xmp

_METADATA = 0x20 | 0x08 | 0x04  # flags of a colour profile, EXIF and XMP
_DEPTH = 12.5  # Pillow's reader holds two canvases in RGBA and a copy


def bare_webp(data: bytes, limits: FormatLimits) -> Bare:
    """Header and picture of a WebP; of an animation, the first frame.

    Raises:
        InvalidRequestError: the file is damaged, or has too many chunks or frames.
    """
    parts = Parts(limits)
    kept: list[bytes] = []
    size: tuple[int, int] | None = None
    by_exif: int | None = None
    by_xmp: int | None = None
    framed = False
    at, end = 12, min(8 + int.from_bytes(data[4:8], "little"), len(data))
    while at + 8 <= end:
        parts.part()
        kind, length = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        body = data[at + 8 : min(at + 8 + length, end)]
        at += 8 + length + length % 2
        if kind in (b"VP8 ", b"VP8L", b"VP8X"):
            size = size or _size(kind, body)
        match kind:
            case b"VP8X" if not kept and len(body) >= 10:
                kept.append(_chunk(kind, bytes([body[0] & ~_METADATA]) + body[1:10], 10))
            case b"ANIM" | b"ALPH" | b"VP8 " | b"VP8L":
                kept.append(_chunk(kind, body, length))
            case b"ANMF":
                parts.frame()
                if not framed:
                    kept.append(_chunk(kind, body, length))
                framed = True
            case b"EXIF" if by_exif is None:
                by_exif = orientation_of_exif(body)
            case b"XMP " if by_xmp is None:
                by_xmp = orientation_of_xmp(body)
            case _:
                pass
    if size is None:
        raise damaged()
    body = b"WEBP" + b"".join(kept)
    return Bare(
        format="WEBP",
        data=b"RIFF" + struct.pack("<I", len(body)) + body,
        size=size,
        orientation=by_exif or by_xmp or 1,
        depth=_DEPTH,
    )


def _chunk(kind: bytes, body: bytes, length: int) -> bytes:
    """A chunk with the length that it declares, which a truncated file does not have."""
    return kind + struct.pack("<I", length) + body + b"\0" * (len(body) % 2)


def _size(kind: bytes, body: bytes) -> tuple[int, int] | None:
    if kind == b"VP8X" and len(body) >= 10:
        return 1 + int.from_bytes(body[4:7], "little"), 1 + int.from_bytes(body[7:10], "little")
    if kind == b"VP8L" and len(body) >= 5:
        bits = int.from_bytes(body[1:5], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if kind == b"VP8 " and len(body) >= 10:
        width, height = struct.unpack_from("<HH", body, 6)
        return width & 0x3FFF, height & 0x3FFF
    return None
