"""Pictures between bytes and arrays: pure functions, no threads, no HTTP. Whatever a client sent that is no good
picture ends as an `InvalidRequestError` of our own words; PIL's have leaked addresses.

The rules: PNG, JPEG, WEBP or GIF, of an animation the first frame, where it has a thousand at most; EXIF orientation is
applied; transparency lies on white; 16 bits are scaled to 8, not clipped; colour profiles are ignored; what is written
carries no metadata.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import io
import re
import struct
import zlib
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageOps

from flashu_core import InvalidRequestError, Pixels
from server.schemas import OutputFormat

_FORMATS = ("PNG", "JPEG", "WEBP", "GIF")
_GIF_EXTENSION, _GIF_FRAME = 0x21, 0x2C
_DATA_URL = re.compile(r"data:image/[a-zA-Z0-9.+-]{1,32};base64,")
# What PIL's readers have been seen to raise on bytes made to break them. Warnings are among them because a process
# may have turned them into errors.
_BROKEN = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    AttributeError,
    EOFError,
    RuntimeError,
    MemoryError,
    struct.error,
    zlib.error,
    Warning,
)


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """Bounds on a sent picture: width times height, each side, and the frames of an animation."""

    max_pixels: int = 16_000_000
    min_side: int = 8
    max_side: int = 65_535
    max_frames: int = 1000


def is_address(text: str) -> bool:
    """Whether a text names a picture instead of being one."""
    return text[:8].lower().startswith(("http://", "https://"))


def read_base64(text: str) -> bytes:
    """The bytes behind base64 or a `data:image/...;base64,` URL; line breaks are allowed.

    Raises:
        InvalidRequestError: it is neither, or it is an address.
    """
    if is_address(text):
        raise _refused("image is an address; this server fetches none, send the picture itself as base64")
    if text.startswith("data:"):
        head = _DATA_URL.match(text)
        if head is None:
            raise _refused("image is a data URL of another form; send data:image/png;base64,...")
        text = text[head.end() :]
    try:
        return base64.b64decode(text.replace("\n", "").replace("\r", ""), validate=True)
    except (binascii.Error, ValueError):
        raise _refused("image is not base64; send the picture's bytes as standard base64") from None


def decode_image(data: bytes, limits: ImageLimits) -> Pixels:
    """uint8 (height, width, 3) of the picture in `data`.

    Raises:
        InvalidRequestError: another format, damaged, too large or too small, or with too many frames.
    """
    try:
        image = Image.open(io.BytesIO(data), formats=_FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise _too_large(limits) from None
    except _BROKEN:
        raise _refused("image is no PNG, JPEG, WEBP or GIF that can be read; send one of these") from None
    with image:
        width, height = image.size
        if width * height > limits.max_pixels:
            raise _too_large(limits, width, height)
        if min(width, height) < limits.min_side:
            raise _refused(f"image is {width}x{height}; each side must have at least {limits.min_side} pixels")
        if max(width, height) > limits.max_side:
            raise _refused(f"image is {width}x{height}; each side may have at most {limits.max_side} pixels")
        if _frames(image, data, limits.max_frames) > limits.max_frames:
            raise _refused(f"image has more than {limits.max_frames} frames; send one of them")
        try:
            image.load()
            # GIF and WEBP readers go on to the next frame when asked again; of the others there is one copy less.
            frame = image.copy() if image.format in ("GIF", "WEBP") else image
            return _rgb(_upright(frame))
        except _BROKEN:
            raise _refused("image is damaged or cut short; send the whole file") from None


def encode_image(pixels: Pixels, output_format: OutputFormat, quality: int) -> bytes:
    """A file of `pixels`, uint8 (height, width, 3), without metadata; `quality` 0-100 is ignored for png."""
    file = io.BytesIO()
    image = Image.fromarray(pixels)
    if output_format == "png":
        image.save(file, "PNG")
    else:
        image.save(file, output_format.upper(), quality=quality)
    return file.getvalue()


def _frames(image: Image.Image, data: bytes, most: int) -> int:
    """Frames of a picture, counted no further than one beyond `most`."""
    if image.format != "GIF":  # the others say it in their headers
        return int(getattr(image, "n_frames", 1))
    # PIL would walk through all of them, for seconds; where the file is broken, decoding will tell.
    count = 0
    with contextlib.suppress(IndexError):
        place = 13 + _palette_bytes(data[10])
        while count <= most and data[place] in (_GIF_EXTENSION, _GIF_FRAME):
            if data[place] == _GIF_FRAME:
                count += 1
                place += 11 + _palette_bytes(data[place + 9])
            else:
                place += 2
            while length := data[place]:  # sub-blocks, up to an empty one
                place += 1 + length
            place += 1
    return count


def _palette_bytes(flags: int) -> int:
    return 3 * 2 ** ((flags & 7) + 1) if flags & 0x80 else 0


def _upright(image: Image.Image) -> Image.Image:
    with contextlib.suppress(*_BROKEN):  # cameras do write broken EXIF; the picture itself is fine
        ImageOps.exif_transpose(image, in_place=True)
    return image


def _rgb(image: Image.Image) -> Pixels:
    if image.mode.startswith("I"):  # one channel of 16 bits; PIL's own conversion clips at 255
        return _from_16_bits(image)
    key = image.info.get("transparency")
    if image.mode == "RGB" and isinstance(key, tuple) and max(key) > 255:
        # PIL keeps the high bytes of 48-bit pixels, but the key as it was.
        image.info["transparency"] = tuple(value >> 8 for value in key)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))


def _from_16_bits(image: Image.Image) -> Pixels:
    values = np.asarray(image).astype(np.int64)  # (H, W)
    grey = np.clip((values * 255 + 32767) // 65535, 0, 255).astype(np.uint8)
    key = image.info.get("transparency")
    if isinstance(key, int):
        grey[values == key] = 255
    return np.repeat(grey[:, :, None], 3, axis=2)


def _too_large(limits: ImageLimits, *size: int) -> InvalidRequestError:
    what = f"image is {size[0]}x{size[1]}" if size else "image is far too large"
    return _refused(f"{what}; width times height may be {limits.max_pixels} pixels at most, send a smaller one")


def _refused(message: str) -> InvalidRequestError:
    return InvalidRequestError(message, parameter="image")
