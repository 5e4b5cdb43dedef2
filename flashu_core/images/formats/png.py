"""PNG: chunks with checksums."""

from __future__ import annotations

import struct
import zlib

from flashu_core.images.formats.bare import Bare, FormatLimits, Parts, damaged
from flashu_core.images.formats.exif import orientation_of_exif, orientation_of_xmp

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_XMP = b"XML:com.adobe.xmp\0\0\0"
_MAX_PALETTE_BYTES = 768
_MAX_TRANSPARENCY_BYTES = 256


def bare_png(data: bytes, limits: FormatLimits) -> Bare:
    """Header, palette, transparency and image data of a PNG; of an animation, the default image. Their checksums are
    verified; those of other chunks are not, as these are not read.

    Raises:
        InvalidRequestError: the file is damaged or truncated, or has too many chunks or frames.
    """
    parts = Parts(limits)
    header = palette = transparency = b""
    image: list[bytes] = []
    orientation: int | None = None
    at = len(_SIGNATURE)
    while at + 8 <= len(data):
        parts.part()
        (length,), kind = struct.unpack_from(">I", data, at), data[at + 4 : at + 8]
        begin, end = at + 8, at + 8 + length
        at = end + 4
        if kind == b"IEND":
            break
        body = data[begin:end]
        critical = kind in (b"IHDR", b"PLTE", b"IDAT")
        if not header and kind != b"IHDR":
            raise damaged()
        if (critical or kind == b"tRNS") and data[end:at] != struct.pack(">I", zlib.crc32(kind + body)):
            if critical:
                raise damaged()
            continue
        match kind:
            case b"IHDR" if header or length != 13:
                raise damaged()
            case b"IHDR":
                header = body
            case b"PLTE" if not palette and not image and length <= _MAX_PALETTE_BYTES:
                palette = body
            case b"tRNS" if not transparency and not image and length <= _MAX_TRANSPARENCY_BYTES:
                transparency = body
            case b"IDAT":
                image.append(body)
            case b"fcTL":
                parts.frame()
            case b"eXIf" if orientation is None:
                orientation = orientation_of_exif(body)
            case b"iTXt" if orientation is None and body.startswith(_XMP):
                orientation = orientation_of_xmp(body)
            case _:
                pass
    if not header or not image:
        raise damaged()
    width, height = struct.unpack_from(">II", header)
    chunks = [_chunk(b"IHDR", header)]
    chunks += [_chunk(kind, body) for kind, body in ((b"PLTE", palette), (b"tRNS", transparency)) if body]
    chunks += [_chunk(b"IDAT", b"".join(image)), _chunk(b"IEND", b"")]
    return Bare(format="PNG", data=b"".join([_SIGNATURE, *chunks]), size=(width, height), orientation=orientation or 1)


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(body, zlib.crc32(kind)))
