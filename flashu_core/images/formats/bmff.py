"""AVIF and HEIC: boxes in boxes (ISO/IEC 14496-12), and items that are tiles, thumbnails or metadata."""

from __future__ import annotations

from collections.abc import Iterator

from flashu_core.images.formats.bare import Bare, FormatLimits, Parts, PictureFormat, damaged

_AVIF = frozenset({b"avif", b"avis"})
_HEIC = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx"})
_HIDDEN = b"skip"
_MAX_BRANDS = 64
_DEPTH = 5.5  # decoded planes, and their conversion to RGB


def bare_bmff(data: bytes, limits: FormatLimits) -> Bare | None:
    """The file with its EXIF and XMP items renamed, so that decoders ignore them: the orientation is in properties of
    the format, which decoders apply. None where the file is neither AVIF nor HEIC.

    Raises:
        InvalidRequestError: the file is damaged before its items, or has too many boxes or items.
    """
    parts = Parts(limits)
    kind: PictureFormat | None = None
    changed = bytearray(data)
    for name, begin, end in _boxes(data, 0, len(data), parts):
        if name == b"ftyp":
            brands = {data[at : at + 4] for at in range(begin, min(end, begin + 4 * _MAX_BRANDS), 4)}
            kind = "AVIF" if brands & _AVIF else "HEIC" if brands & _HEIC else None
            if kind is None:
                return None
        if name == b"meta":
            for inner, from_, to in _boxes(data, begin + 4, end, parts):
                if inner == b"iinf":
                    _hide_metadata(changed, data, from_, to, parts)
    if kind is None:
        return None
    return Bare(format=kind, data=bytes(changed), size=None, depth=_DEPTH)


def _boxes(data: bytes, at: int, end: int, parts: Parts) -> Iterator[tuple[bytes, int, int]]:
    """Name, start and end of the content of each box."""
    while at + 8 <= end:
        parts.part()
        length, name, head = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8], 8
        if length == 1:
            length, head = int.from_bytes(data[at + 8 : at + 16], "big"), 16
        elif length == 0:  # to the end
            length = end - at
        if length < head:
            raise damaged()
        yield name, at + head, min(at + length, end)
        at += length


def _hide_metadata(changed: bytearray, data: bytes, begin: int, end: int, parts: Parts) -> None:
    wide = data[begin : begin + 1] != b"\0"
    for name, at, to in _boxes(data, begin + (8 if wide else 6), end, parts):
        if name != b"infe" or to - at < 14:
            continue
        place = at + (8 if data[at] == 2 else 10)  # version 3 has wider ids
        if data[at] in (2, 3) and data[place : place + 4] in (b"Exif", b"mime"):
            changed[place : place + 4] = _HIDDEN
