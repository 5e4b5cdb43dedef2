"""The orientation of a picture, from its EXIF or XMP. Reads one number of one directory: general EXIF readers unpack
everything that a file declares, and one entry can declare gigabytes."""

from __future__ import annotations

import re
import struct

_ORIENTATION = 0x0112
_SHORT = 3
_MAX_ENTRIES = 1000
_MAX_XMP_BYTES = 64 * 1024
_IN_XMP = re.compile(rb"tiff:Orientation(?:=[\"']|>)([1-8])[\"'<]")


def orientation_of_exif(block: bytes) -> int | None:
    """1 to 8, or None where an EXIF block (with or without its `Exif` header) has no valid orientation."""
    tiff = block[6:] if block.startswith(b"Exif\0\0") else block
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4])
    if order is None:
        return None
    try:
        (first,) = struct.unpack_from(order + "I", tiff, 4)
        (count,) = struct.unpack_from(order + "H", tiff, first)
        for entry in range(min(count, _MAX_ENTRIES)):
            tag, kind, values, value = struct.unpack_from(order + "HHIH", tiff, first + 2 + 12 * entry)
            if tag == _ORIENTATION:
                return value if kind == _SHORT and values == 1 and 1 <= value <= 8 else None
    except struct.error:
        pass
    return None


def orientation_of_xmp(block: bytes) -> int | None:
    """1 to 8, or None where the beginning of an XMP packet has no orientation."""
    found = _IN_XMP.search(block[:_MAX_XMP_BYTES])
    return int(found[1]) if found else None
