"""Pictures as text in JSON: base64 in the forms that clients write it, and data URLs. It knows texts, not pictures."""

from __future__ import annotations

import base64
import re
import string

from flashu_core import InvalidRequestError

_ADDRESSES = ("http://", "https://")
# A media type, parameters, and the mark of base64; browsers write all of them, libraries leave some out. Every run is
# bounded: a value may end in blanks, and blanks without end behind it would be tried again for each of its bytes.
_DATA_URL = re.compile(
    rb"data:(?P<type>[a-z0-9!#$&^_.+*-]{0,64}/?[a-z0-9!#$&^_.+*-]{0,64})"
    rb"(?:;[ \t]{0,8}[a-z0-9!#$&^_.+-]{1,64}=(?:\"[^\"]{0,256}\"|[^\",;]{0,256})){0,8}"
    rb"[ \t]{0,8}(?P<base64>;[ \t]{0,8}base64)?[ \t]{0,8},",
    re.IGNORECASE,
)
_DIGITS = (string.ascii_letters + string.digits + "+/").encode()
_BLANKS = b" \t\r\n\f\v"
# What of base64 is written as an escape in an address.
_ESCAPES = {b"%2B": b"+", b"%2F": b"/", b"%3D": b"=", b"%0A": b"", b"%0D": b"", b"%20": b"", b"%2D": b"-", b"%5F": b"_"}
# Of bytes whose type nobody looked up; object stores say so of everything.
_ANY_TYPES = (b"", b"application/octet-stream", b"binary/octet-stream")
_URL_SAFE = bytes.maketrans(b"-_", b"+/")


def is_address(text: str) -> bool:
    """Whether a text names a picture instead of being one."""
    return text[:8].lower().startswith(_ADDRESSES)


def read_base64(text: bytes) -> bytes:
    """The bytes behind base64 (standard or URL-safe, with or without padding, with blanks), or a data URL of it.

    Raises:
        InvalidRequestError: it is neither, or it is an address.
    """
    text = text.lstrip(_BLANKS)
    if text[:8].lower().startswith(tuple(address.encode() for address in _ADDRESSES)):
        raise _refused("image is an address; this server fetches none, send the picture itself as base64")
    if text[:5].lower() == b"data:":
        text = _behind_head(text)
    # Padding only says where the end is, which is known.
    digits = text.translate(_URL_SAFE, _BLANKS).rstrip(b"=")
    if digits.translate(None, _DIGITS):
        raise _refused("image is not base64; send the picture's bytes as standard or URL-safe base64")
    if len(digits) % 4 == 1:
        raise _refused("image is cut base64: one digit is left over; send all of the picture's bytes")
    return base64.b64decode(digits + b"=" * (-len(digits) % 4))


def _behind_head(url: bytes) -> bytes:
    head = _DATA_URL.match(url)
    if head is None:
        raise _refused("image is a data URL of another form; send data:image/png;base64,...")
    kind = head["type"].lower()
    if kind not in _ANY_TYPES and not kind.startswith(b"image/"):
        raise _refused("image is a data URL of no picture; send data:image/png;base64,...")
    if head["base64"] is None:
        raise _refused("image is a data URL without base64; send data:image/png;base64,...")
    text = url[head.end() :]
    if b"%" in text:
        for escape, plain in _ESCAPES.items():
            text = text.replace(escape, plain).replace(escape.lower(), plain)
    return text


def _refused(message: str) -> InvalidRequestError:
    return InvalidRequestError(message, parameter="image")
