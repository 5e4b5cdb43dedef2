"""JPEG: segments, and scans of entropy-coded data."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

from flashu_core.images.formats.bare import Bare, FormatLimits, Parts, damaged
from flashu_core.images.formats.exif import orientation_of_exif, orientation_of_xmp

_SOI, _EOI, _SOS, _DHT, _JPG, _DAC, _APP0, _APP1, _ADOBE = 0xD8, 0xD9, 0xDA, 0xC4, 0xC8, 0xCC, 0xE0, 0xE1, 0xEE
_FRAMES = frozenset(range(0xC0, 0xD0)) - {_DHT, _JPG, _DAC}
_PROGRESSIVE = frozenset({0xC2, 0xC6, 0xCA, 0xCE})
_ALONE = frozenset({0x01, *range(0xD0, 0xD9)})  # markers without a segment
_END = bytes((0xFF, _EOI))
# Frames, Huffman and arithmetic tables, quantisation tables, restart intervals, the number of lines; and the two
# application segments with the colour space.
_KEPT = _FRAMES | {_DHT, _DAC, 0xDB, 0xDC, 0xDD, _APP0, _ADOBE}
# In entropy-coded data 0xFF is followed by 0 or a restart marker; anything else ends the scan. `\xff+` here would walk
# through a long run once for each of its bytes.
_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
# A run of 0xFF means the same as one; decoders that are fed piece by piece restart a run with each piece.
_FILL = re.compile(rb"\xff\xff+")
_BEHIND_FILL = re.compile(rb"[^\xff]")
_XMP = b"http://ns.adobe.com/xap/1.0/\0"


def bare_jpeg(data: bytes, limits: FormatLimits) -> Bare:
    """Tables, frame header and scans of a JPEG.

    Raises:
        InvalidRequestError: the file is damaged before its scans, or has too many segments or scans.
    """
    parts = Parts(limits)
    kept = [data[:2]]
    frame: bytes | None = None
    progressive = False
    together = 0  # components of the first scan
    by_exif: int | None = None
    by_xmp: int | None = None
    sent: set[tuple[int, int]] = set()  # complete (component, coefficient) pairs
    ended = False
    for marker, segment, rest in _segments(data, parts):
        if marker == _EOI:
            ended = True
            break
        if marker in _FRAMES:
            if frame is not None:
                raise damaged()
            frame, progressive = segment, marker in _PROGRESSIVE
        elif marker == _SOS:
            parts.scan()
            sent |= _sent(segment)
            together = together or segment[0]
        elif marker == _APP1 and by_exif is None and segment.startswith(b"Exif\0\0"):
            by_exif = orientation_of_exif(segment)
        elif marker == _APP1 and by_xmp is None and segment.startswith(_XMP):
            by_xmp = orientation_of_xmp(segment)
        if marker in _KEPT or marker == _SOS:
            kept += [bytes((0xFF, marker)), struct.pack(">H", len(segment) + 2), segment, rest]
    if frame is None or len(frame) < 6 or not sent:
        raise damaged()
    height, width = struct.unpack_from(">HH", frame, 1)
    components = [(frame[at], frame[at + 1]) for at in range(6, len(frame) - 2, 3)]
    if not ended and not _whole(components, sent, progressive):
        raise damaged()
    return Bare(
        format="JPEG",
        data=b"".join([*kept, _END]) if ended else b"".join(kept).rstrip(b"\xff"),
        size=(width, height),
        orientation=by_exif or by_xmp or 1,
        depth=_coefficients(components) if progressive or together < len(components) else 0.0,
        scans=parts.scans,
        ended=ended,
    )


def _segments(data: bytes, parts: Parts) -> Iterator[tuple[int, bytes, bytes]]:
    """Marker, segment without its length, and for a scan the entropy-coded data after it, to the end of the file."""
    at = 2
    while True:
        at = data.find(b"\xff", at)
        behind = _BEHIND_FILL.search(data, at) if at >= 0 else None
        if behind is None:
            return
        parts.part()
        marker, at = data[behind.start()], behind.end()
        if marker == _EOI:
            yield marker, b"", b""
        if marker == 0 or marker in _ALONE:
            continue
        length = int.from_bytes(data[at : at + 2], "big")
        segment = data[at + 2 : at + length]
        if length < 2 or len(segment) < length - 2:
            raise damaged()
        at += length
        rest = b""
        if marker == _SOS:
            found = _MARKER.search(data, at)
            end = found.start() if found else len(data)
            rest, at = _FILL.sub(b"\xff", data[at:end]), end
        yield marker, segment, rest


def _sent(scan: bytes) -> set[tuple[int, int]]:
    """The (component, coefficient) pairs that are complete after this scan, by its header."""
    if not scan or len(scan) < 1 + 2 * scan[0] + 3:
        raise damaged()
    first, last, approximation = scan[-3], min(scan[-2], 63), scan[-1]
    if approximation & 15:  # more bits follow in another scan
        return set()
    return {(scan[1 + 2 * index], place) for index in range(scan[0]) for place in range(first, last + 1)}


def _whole(components: list[tuple[int, int]], sent: set[tuple[int, int]], progressive: bool) -> bool:
    """Whether the scans cover all components and coefficients of the frame."""
    needed = range(64 if progressive else 1)
    return all((name, place) in sent for name, _ in components for place in needed)


def _coefficients(components: list[tuple[int, int]]) -> float:
    """Bytes per pixel of the coefficients of a picture in several scans, all of which stay in memory."""
    across = max((sampling >> 4 for _, sampling in components), default=1) or 1
    down = max((sampling & 15 for _, sampling in components), default=1) or 1
    return 2.0 * sum((sampling >> 4) * (sampling & 15) for _, sampling in components) / (across * down)
