"""GIF: blocks made of sub-blocks."""

from __future__ import annotations

import contextlib

from flashu_core.images.formats.bare import Bare, FormatLimits, Parts, damaged

_EXTENSION, _FRAME, _END = 0x21, 0x2C, b";"
_CONTROL = 0xF9  # the extension that says which colour of the next frame is transparent
_FULL = 255


def bare_gif(data: bytes, limits: FormatLimits) -> Bare:
    """Screen, palette and first frame of a GIF. Later frames are only counted, up to the first damage.

    Raises:
        InvalidRequestError: the file is damaged before its first frame, or has too many blocks or frames.
    """
    parts = Parts(limits)
    control = first = b""
    with contextlib.suppress(IndexError):  # truncated: the decoder checks the first frame
        at = head = 13 + _palette_bytes(data[10])
        while (kind := data[at]) in (_EXTENSION, _FRAME):
            begin = at
            parts.part()
            if kind == _EXTENSION:
                at = _behind_blocks(data, at + 2, parts)
                if data[begin + 1] == _CONTROL and not first:
                    control = data[begin:at]
                continue
            parts.frame()
            is_first = not first
            first = first or data[begin:]
            at = _behind_blocks(data, at + 11 + _palette_bytes(data[at + 9]), parts)
            if is_first:
                first = data[begin:at]
    if not first:
        raise damaged()
    size = int.from_bytes(data[6:8], "little"), int.from_bytes(data[8:10], "little")
    return Bare(format="GIF", data=data[:head] + control + first + _END, size=size)


def _behind_blocks(data: bytes, at: int, parts: Parts) -> int:
    """The position after the sub-blocks that begin at `at`."""
    while length := data[at]:
        if length < _FULL:  # the file's size bounds the number of full ones
            parts.part()
        at += 1 + length
    return at + 1


def _palette_bytes(flags: int) -> int:
    return 3 * 2 ** ((flags & 7) + 1) if flags & 0x80 else 0
