"""Hostile requests: images that decompress to gigabytes, deeply nested or endless bodies, NaN, Inf and invalid numbers.
The server must reject every one of them."""

from __future__ import annotations

import base64
import io
import json
import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from PIL import Image

from load_tests.bench.client import Message

JSON = "application/json"
FORM = "multipart/form-data; boundary=a"
_FIELD = b'--a\r\nContent-Disposition: form-data; name="q"\r\n\r\nx\r\n'
_FILE = b'--a\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n'
_BLOCK = b"x" * 65536
_PIECES = 20_000  # maximum of an endless body: more than a gigabyte in blocks
_NUMBERS = ("NaN", "Infinity", "-Infinity", "1e999", "9223372036854775808", "1" + "0" * 400, "true", '"1"', "[1]", "{}")
_FIELDS: Mapping[str, tuple[str, ...]] = {
    "/v1/generate": ("n", "num_inference_steps", "guidance_scale", "seed", "timeout_s"),
    "/v1/vqa": ("max_new_tokens", "temperature", "top_p", "seed", "timeout_s"),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Endless:
    """A body that is sent for as long as the server reads.

    Attributes:
        head: headers after the request line and `Host`.
        piece: sent repeatedly.
        first: sent once, before.
    """

    head: str
    piece: bytes
    first: bytes = b""

    def pieces(self) -> Iterator[bytes]:
        if self.first:
            yield self.first
        for _ in range(_PIECES):
            yield self.piece


def pictures() -> dict[str, Message]:
    """Questions about decompression bombs."""
    made = {
        "30,000 x 30,000, declared": png(30_000, 30_000, b"\0" * 100),
        "30,000 x 30,000, sent": png(30_000, 30_000, bytes(30_000_000)),
        "more rows than declared": png(8_001, 8_000, bytes(300_000_000)),
        "1000 scans of 4,000 x 4,000": scan_bomb(4_000, 1000),
        "10,000 frames": gif(10_000),
        "100,000 frames": gif(100_000),
    }
    return {name: _understanding(base64.b64encode(file).decode()) for name, file in made.items()}


def numbers() -> dict[str, Message]:
    """Requests with NaN, Inf or an invalid number in every numeric field of the native routes."""
    rest = {"/v1/generate": '"prompt": "a"', "/v1/vqa": f'"question": "a", "image": "{_dot()}"'}
    return {
        f"{path} {field}: {number[:20]}": Message(path=path, body=f'{{{rest[path]}, "{field}": {number}}}'.encode())
        for path, fields in _FIELDS.items()
        for field in fields
        for number in (*_NUMBERS, *(["-1", "1000000000"] if field in ("n", "max_new_tokens") else []))
    }


def bodies() -> dict[str, Message]:
    """Bodies that are expensive to parse."""
    as_json = {
        "lists, 100,000 deep": b"[" * 100_000,
        "objects, 100,000 deep": b'{"question":' * 100_000,
        "5 million values": b"[" + b"[]," * 5_000_000 + b"[]]",
        "a number of 10 million digits": b'{"question":"a","seed":' + b"9" * 10_000_000 + b"}",
        "99,000 names": b"{" + b",".join(b'"%d":1' % name for name in range(99_000)) + b"}",
    }
    as_forms = {
        "10,000 fields": _FIELD * 10_000 + b"--a--\r\n",
        "10,000 files": (_FILE + b"x\r\n") * 10_000 + b"--a--\r\n",
    }
    return {name: Message(path="/v1/vqa", body=body) for name, body in as_json.items()} | {
        name: Message(path="/v1/vqa", body=body, media=FORM) for name, body in as_forms.items()
    }


def endless_bodies() -> dict[str, Endless]:
    """Bodies without end, or of a gigabyte."""
    return {
        "a gigabyte": Endless(head=f"Content-Type: {JSON}\r\nContent-Length: 1000000000\r\n", piece=_BLOCK),
        "a form of a gigabyte": Endless(head=f"Content-Type: {FORM}\r\nContent-Length: 1000000000\r\n", piece=_BLOCK),
        "chunks": Endless(head=f"Content-Type: {JSON}\r\nTransfer-Encoding: chunked\r\n", piece=_chunk(_BLOCK)),
        "a file in chunks": Endless(
            head=f"Content-Type: {FORM}\r\nTransfer-Encoding: chunked\r\n", piece=_chunk(_BLOCK), first=_chunk(_FILE)
        ),
        "fields in chunks": Endless(
            head=f"Content-Type: {FORM}\r\nTransfer-Encoding: chunked\r\n", piece=_chunk(_FIELD)
        ),
    }


def form(image: bytes) -> bytes:
    """A `FORM` body with a question about an image."""
    question = _FIELD.replace(b'"q"', b'"question"')
    return question + _FILE + image + b"\r\n--a--\r\n"


def _understanding(image: str) -> Message:
    return Message(path="/v1/vqa", body=json.dumps({"question": "what?", "image": image}).encode())


def _dot() -> str:
    return base64.b64encode(png(1, 1, b"\0" * 4)).decode()


def _chunk(data: bytes) -> bytes:
    """A chunk of HTTP's chunked encoding."""
    return b"%x\r\n" % len(data) + data + b"\r\n"


def png(width: int, height: int, rows: bytes, extra: bytes = b"") -> bytes:
    """A PNG that declares that size in RGB, with any rows."""
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + extra + png_chunk(b"IDAT", zlib.compress(rows)) + png_chunk(b"IEND", b"")


def png_chunk(kind: bytes, data: bytes) -> bytes:
    """A chunk with length and checksum."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def text_bomb(kind: bytes) -> bytes:
    """A PNG of 8 x 8 with 100 MB of text in 100 kB, in a chunk zTXt or iTXt."""
    head = b"Comment\0\0" if kind == b"zTXt" else b"Comment\0\1\0en\0\0"
    return png(8, 8, bytes(25 * 8), extra=png_chunk(kind, head + zlib.compress(b"x" * 100_000_000)))


def scan_bomb(side: int, scans: int, *, refining: bool = False, ended: bool = True) -> bytes:
    """A grey progressive JPEG with empty scans, each of which costs a pass over all blocks.

    Args:
        refining: all but the first refine the previous one: a pass over all coefficients.
        ended: with its end marker, without which it has to be scanned twice.
    """
    blocks = ((side + 7) // 8) ** 2
    table = bytes([1, *[0] * 15])  # one code, of one bit
    frame = struct.pack(">BHHB", 8, side, side, 1) + b"\x01\x11\x00"
    head = _segment(0xDB, b"\0" + b"\x10" * 64) + _segment(0xC2, frame)
    head += _segment(0xC4, b"\x00" + table + b"\x00") + _segment(0xC4, b"\x10" + table + b"\xe0")
    first = _segment(0xDA, b"\x01\x01\x00\x00\x00\x00") + bytes((blocks + 7) // 8)
    # Runs of blocks without coefficients: a code of one bit, and 14 bits for the length beyond 16384.
    runs = "0".join(["", *(["1" * 14] * (-(-blocks // 32767)))])
    runs += "1" * (-len(runs) % 8)
    empty = int(runs, 2).to_bytes(len(runs) // 8, "big").replace(b"\xff", b"\xff\0")
    plain, more = (_segment(0xDA, b"\x01\x01\x00\x01\x3f" + kind) + empty for kind in (b"\x00", b"\x10"))
    body = plain + more * (scans - 1) if refining else plain * scans
    return b"\xff\xd8" + head + first + body + (b"\xff\xd9" if ended else b"")


def _segment(marker: int, data: bytes) -> bytes:
    return bytes((0xFF, marker)) + struct.pack(">H", len(data) + 2) + data


def gif(frames: int) -> bytes:
    """Many 8 x 8 frames of a few bytes each: the frame of a file that Pillow wrote, repeated."""
    file = io.BytesIO()
    Image.new("P", (8, 8), 1).save(file, "GIF")
    one = file.getvalue()
    begin = 13 + 3 * 2 ** ((one[10] & 7) + 1)
    return one[:begin] + one[begin:-1] * frames + b";"
