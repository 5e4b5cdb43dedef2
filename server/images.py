"""Pictures between bytes and arrays: pure functions, no threads, no HTTP. Whatever a client sent that is no good
picture ends as an `InvalidRequestError` of our own words; PIL's have leaked addresses.

The rules: the first frame of PNG, JPEG, WEBP or GIF; EXIF orientation is applied; transparency lies on white; 16 bits
are scaled to 8, not clipped; colour profiles are ignored; what is written carries no metadata.
"""

from __future__ import annotations

import base64
import binascii
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
    """Bounds on a sent picture: width times height, and the shorter side."""

    max_pixels: int = 16_000_000
    min_side: int = 8


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
        InvalidRequestError: another format, damaged, too large or too small.
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
        try:
            image.load()
            # A copy, for GIF and WEBP readers go on to the next frame when asked again.
            return _rgb(_upright(image.copy()))
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


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except _BROKEN:  # cameras do write broken EXIF; the picture itself is fine
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
    return np.asarray(image.convert("RGB"))


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
