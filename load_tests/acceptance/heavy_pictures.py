"""Image files that are expensive to decode for their size: empty scans, millions of comments, a tag with millions of
values, millions of pixels of one colour."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Mapping

from PIL import Image

from load_tests.acceptance.hostile import png, png_chunk, scan_bomb

SCANS = 1000
SIDE = 4000  # of the image with these scans
LARGE = 8000  # as many pixels as the server accepts
_REFINING = 30  # after a first one: as many as it accepts of that size
_BYTES = 18_000_000  # of the large files: below the body limit
_VALUES = 2_400_000
_ORIENTATION = 0x0112
_ROWS = bytes(8 * (1 + 3 * 8))  # of 8 x 8 in RGB


def heavy_pictures() -> Mapping[str, bytes]:
    """Files by name."""
    return {
        f"JPEG, {SCANS} empty scans": scan_bomb(SIDE, SCANS),
        "JPEG, refining scans": refining_scans(),
        "JPEG, comments": jpeg_segments(b"\xff\xfe\0\2"),
        "JPEG, fill bytes": jpeg_segments(b"\xff"),
        "JPEG, fill bytes in its scan": jpeg_scan(b"\xff" * _BYTES + b"\0"),
        "GIF, comments": gif_comments(_BYTES // 5),
        "PNG, orientation of 2.4 M values": png(8, 8, _ROWS, extra=png_chunk(b"eXIf", exif(_VALUES))),
        "PNG, empty chunks": png(8, 8, _ROWS, extra=png_chunk(b"teSt", b"") * (_BYTES // 12)),
        "PNG, interlaced": interlaced_png(LARGE),
        "WebP, empty chunks": webp_chunks(_BYTES // 8),
        "WebP, one colour": flat_webp(5656),
    }


def refining_scans(more: int = 0) -> bytes:
    """128 kB of 64 million pixels that take seconds to decode; rejected with `more` scans than that."""
    return scan_bomb(LARGE, _REFINING + more, refining=True, ended=False)


def jpeg_segments(segment: bytes) -> bytes:
    """An 8 x 8 image behind `_BYTES` of repeated segments."""
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "JPEG")
    whole = file.getvalue()
    return whole[:2] + segment * (_BYTES // len(segment)) + whole[2:]


def jpeg_scan(more: bytes) -> bytes:
    """An 8 x 8 image with more data at the end of its only scan."""
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "JPEG")
    return file.getvalue().removesuffix(b"\xff\xd9") + more + b"\xff\xd9"


def gif_comments(comments: int) -> bytes:
    """An 8 x 8 image behind many one-letter comments."""
    file = io.BytesIO()
    Image.new("P", (8, 8), 1).save(file, "GIF")
    one = file.getvalue()
    begin = 13 + 3 * 2 ** ((one[10] & 7) + 1)
    return one[:begin] + b"\x21\xfe\x01a\x00" * comments + one[begin:]


def webp_chunks(chunks: int) -> bytes:
    """An 8 x 8 image followed by many empty chunks."""
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "WEBP", lossless=True)
    body = file.getvalue()[12:]
    extended = b"VP8X" + struct.pack("<I", 10) + bytes(4) + (7).to_bytes(3, "little") * 2
    content = b"WEBP" + extended + body + b"teSt\0\0\0\0" * chunks
    return b"RIFF" + struct.pack("<I", len(content)) + content


def interlaced_png(side: int) -> bytes:
    """Transparent 16-bit RGBA in seven passes: the largest amount to decompress for that size."""
    passes = ((8, 8), (8, 8), (8, 4), (4, 4), (4, 2), (2, 2), (2, 1))  # stride in rows and columns
    size = sum(-(-side // down) * (1 + 8 * -(-side // across)) for down, across in passes)
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 16, 6, 0, 0, 1))
    return b"\x89PNG\r\n\x1a\n" + header + png_chunk(b"IDAT", _zeros(size)) + png_chunk(b"IEND", b"")


def _zeros(size: int) -> bytes:
    """Compressed zeros, at least `size`, without compressing each block."""
    packer = zlib.compressobj(9)
    block = bytes(2**20)
    head = packer.compress(block) + packer.flush(zlib.Z_FULL_FLUSH)
    again = packer.compress(block) + packer.flush(zlib.Z_FULL_FLUSH)  # depends on nothing before it
    blocks = -(-size // len(block))
    check = blocks * len(block) % 65521 << 16 | 1  # Adler-32 of zeros
    return head + again * (blocks - 1) + b"\3\0" + struct.pack(">I", check)


def flat_webp(side: int) -> bytes:
    """A black lossless image of any size in 34 bytes: only the header has the size."""
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "WEBP", lossless=True)
    made = bytearray(file.getvalue())
    at = made.index(b"VP8L") + 9
    bits = int.from_bytes(made[at : at + 4], "little") & ~(2**28 - 1) | (side - 1) << 14 | (side - 1)
    made[at : at + 4] = bits.to_bytes(4, "little")
    return bytes(made)


def exif(values: int) -> bytes:
    """TIFF tags whose orientation has `values` values."""
    entry = struct.pack("<HHII", _ORIENTATION, 3, values, 26)
    return b"II*\0" + struct.pack("<IH", 8, 1) + entry + struct.pack("<I", 0) + b"\1\0" * values
