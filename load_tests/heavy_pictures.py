"""Small files that take long to read: a thousand scans that hold nothing, millions of comments, a tag with millions of
values. It knows formats, nothing of servers."""

from __future__ import annotations

import io
import struct
from collections.abc import Mapping

from PIL import Image

from load_tests.hostile import png, png_chunk, scan_bomb

SCANS = 1000
SIDE = 4000  # of the picture with the scans: 16 million pixels, as many as the server takes
_BYTES = 18_000_000  # of the large files: less than a body may have
_VALUES = 2_400_000
_ORIENTATION = 0x0112
_ROWS = bytes(8 * (1 + 3 * 8))  # of 8 x 8 in RGB


def heavy_pictures() -> Mapping[str, bytes]:
    """Files by name; not one is a picture that anybody has."""
    return {
        f"JPEG, {SCANS} empty scans": scan_bomb(SIDE, SCANS),
        "JPEG, comments": jpeg_segments(b"\xff\xfe\0\2"),
        "JPEG, fill bytes": jpeg_segments(b"\xff"),
        "JPEG, fill bytes in its scan": jpeg_scan(b"\xff" * _BYTES + b"\0"),
        "GIF, comments": gif_comments(_BYTES // 5),
        "PNG, orientation of 2.4 M values": png(8, 8, _ROWS, extra=png_chunk(b"eXIf", exif(_VALUES))),
        "PNG, empty chunks": png(8, 8, _ROWS, extra=png_chunk(b"teSt", b"") * (_BYTES // 12)),
        "WebP, empty chunks": webp_chunks(_BYTES // 8),
    }


def jpeg_segments(segment: bytes) -> bytes:
    """A picture of 8 x 8 with so many of a segment before it that the file is large."""
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "JPEG")
    whole = file.getvalue()
    return whole[:2] + segment * (_BYTES // len(segment)) + whole[2:]


def jpeg_scan(more: bytes) -> bytes:
    """A picture of 8 x 8 with more data at the end of its only scan."""
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "JPEG")
    return file.getvalue().removesuffix(b"\xff\xd9") + more + b"\xff\xd9"


def gif_comments(comments: int) -> bytes:
    """A picture of 8 x 8 behind so many comments of one letter."""
    file = io.BytesIO()
    Image.new("P", (8, 8), 1).save(file, "GIF")
    one = file.getvalue()
    begin = 13 + 3 * 2 ** ((one[10] & 7) + 1)
    return one[:begin] + b"\x21\xfe\x01a\x00" * comments + one[begin:]


def webp_chunks(chunks: int) -> bytes:
    """A picture of 8 x 8 with so many empty chunks behind it."""
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "WEBP", lossless=True)
    body = file.getvalue()[12:]
    extended = b"VP8X" + struct.pack("<I", 10) + bytes(4) + (7).to_bytes(3, "little") * 2
    content = b"WEBP" + extended + body + b"teSt\0\0\0\0" * chunks
    return b"RIFF" + struct.pack("<I", len(content)) + content


def exif(values: int) -> bytes:
    """TIFF tags of which one, the orientation, has so many values."""
    entry = struct.pack("<HHII", _ORIENTATION, 3, values, 26)
    return b"II*\0" + struct.pack("<IH", 8, 1) + entry + struct.pack("<I", 0) + b"\1\0" * values
