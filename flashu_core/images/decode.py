"""Decodes untrusted picture files to pixels: pure functions, no threads. Errors are `InvalidRequestError`s with our own
messages; a library's may repeat addresses and paths.

The rules: PNG, JPEG, WEBP, GIF, AVIF where Pillow has it, HEIC where `pillow-heif` is installed. Of an animation, the
first frame. The camera's orientation is applied, transparency is blended onto white, 16 bits are scaled to 8 (not
clipped), colour profiles are ignored. Only the bare file (`formats`) reaches a decoder.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import numpy as np
from PIL import AvifImagePlugin, Image, features
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from flashu_core.images.formats import Bare, FormatLimits, PictureFormat, bare_file, damaged, refused
from flashu_core.images.resize import cover
from flashu_core.types import Pixels

# What decoders raise for malformed files, found by fuzzing. Warnings are included because a process may turn them into
# errors.
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
    struct.error,
    zlib.error,
    Warning,
)
_READERS: Final[Mapping[PictureFormat, type[ImageFile]]] = {
    "PNG": PngImageFile,
    "JPEG": JpegImageFile,
    "WEBP": WebPImageFile,
    "GIF": GifImageFile,
    "AVIF": AvifImagePlugin.AvifImageFile,
}
# Pixels that are scaled during decoding keep this many times the target's sides for the final resize.
_SPARE = 4
_STRIP_PIXELS = 2**20
_MIB = 2**20
# Entropy-coded data that no picture contains by chance.
_OTHER_END = b"\xa5\x5a\x96" * 200
_END_OF_IMAGE = b"\xff\xd9"
_TURNS: Final[Mapping[int, Callable[[Pixels], Pixels]]] = {
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.transpose(1, 0, 2),
    6: lambda pixels: np.rot90(pixels, -1),
    7: lambda pixels: pixels[::-1, ::-1].transpose(1, 0, 2),
    8: lambda pixels: np.rot90(pixels, 1),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class PictureLimits:
    """Limits of a picture file.

    Attributes:
        max_pixels: width times height.
        min_side, max_side: of width and height each.
        max_memory: bytes that decoding may take, estimated from the header; None is no limit.
        format: limits of the file's parts.
    """

    max_pixels: int = 64_000_000
    min_side: int = 8
    max_side: int = 65_535
    max_memory: int | None = None
    format: FormatLimits = field(default_factory=FormatLimits)


def picture_formats() -> tuple[PictureFormat, ...]:
    """The readable formats, which depend on Pillow's build and on `pillow-heif`."""
    more: list[PictureFormat] = []
    if features.check("avif"):
        more.append("AVIF")
    if find_spec("pillow_heif") is not None:
        more.append("HEIC")
    return ("PNG", "JPEG", "WEBP", "GIF", *more)


def decode_picture(data: bytes, limits: PictureLimits, target: tuple[int, int] | None = None) -> Pixels:
    """The pixels of the picture in a file.

    Args:
        target: width and height that the caller needs. A picture with more than sixteen times as many pixels is scaled
            while it is decoded, and returned in that size, cropped as by `cover`.

    Returns:
        uint8 (height, width, 3).

    Raises:
        InvalidRequestError: the format is unknown, the file is damaged, or it exceeds a limit.
    """
    try:
        bare = bare_file(data, limits.format)
        if bare is None or bare.format not in picture_formats():
            raise _unreadable(bare)
        del data
        if bare.size is not None:
            _check_size(bare, bare.size, limits)
        if bare.ended:
            return _upright(bare, limits, target)
        pixels = _upright(replace(bare, data=bare.data + _END_OF_IMAGE), limits, target)
        # Where the file has all pixels, they do not depend on what follows them.
        other = _upright(replace(bare, data=bare.data + _OTHER_END + _END_OF_IMAGE), limits, target)
    except MemoryError:
        raise refused("image takes more memory to decode than this server gives it; send a smaller one") from None
    if not np.array_equal(pixels, other):
        raise damaged()
    return pixels


def read_picture(path: Path) -> Pixels:
    """Decodes a local picture file to uint8 (H, W, 3), by the same rules, up to 268 million pixels.

    Raises:
        OSError: the file cannot be read.
        InvalidRequestError: it cannot be decoded.
    """
    return decode_picture(path.read_bytes(), PictureLimits(max_pixels=2**28, min_side=1))


def _upright(bare: Bare, limits: PictureLimits, target: tuple[int, int] | None) -> Pixels:
    pixels, orientation = _decode(bare, limits, target)
    if orientation in _TURNS:
        pixels = _TURNS[orientation](pixels)
    if target is not None and _is_large(pixels.shape[1], pixels.shape[0], target):
        return cover(pixels, target[1], target[0])
    return pixels


def _decode(bare: Bare, limits: PictureLimits, target: tuple[int, int] | None) -> tuple[Pixels, int]:
    """The pixels, scaled where the target allows, and their EXIF orientation."""
    try:
        image = _open(bare)
    except _BROKEN:
        raise damaged() from None
    with image:
        _check_size(bare, image.size, limits)
        frames = getattr(image, "n_frames", 1)
        if frames > limits.format.max_frames:
            raise refused(f"image has more than {limits.format.max_frames} frames; send one of them")
        try:
            orientation = bare.orientation if bare.format != "AVIF" else int(image.getexif().get(0x0112, 1))
            if target is not None and _is_large(*image.size, target):
                spare = _SPARE * max(target)
                if bare.format == "JPEG":  # for HEIC it would be a thumbnail, which may show anything
                    image.draft(image.mode, (spare, spare))
                image.load()
                return _in_strips(image, max(min(image.size) // spare, 1)), orientation
            image.load()
            return _in_strips(image, 1), orientation
        except _BROKEN:
            raise damaged() from None


def _open(bare: Bare) -> Image.Image:
    """Opens the file with the reader of its format: Pillow's own detection would inspect the content again."""
    file = io.BytesIO(bare.data)
    if bare.format == "HEIC":
        import pillow_heif  # optional and large: imported when needed

        pillow_heif.options.DECODE_THREADS = 1
        heif: Image.Image = pillow_heif.HeifImageFile(file)  # type: ignore[no-untyped-call, unused-ignore]
        return heif
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1
    return _READERS[bare.format](file)


def _check_size(bare: Bare, size: tuple[int, int], limits: PictureLimits) -> None:
    width, height = size
    if width * height > limits.max_pixels:
        raise refused(
            f"image is {width}x{height}; width times height may be at most {limits.max_pixels} pixels, "
            "send a smaller one"
        )
    if min(size) < limits.min_side:
        raise refused(f"image is {width}x{height}; each side must have at least {limits.min_side} pixels")
    if max(size) > limits.max_side:
        raise refused(f"image is {width}x{height}; each side may have at most {limits.max_side} pixels")
    if bare.scans * width * height > limits.format.max_scan_pixels:
        raise refused(
            f"image has {bare.scans} scans of {width}x{height}; at that size it may have at most "
            f"{limits.format.max_scan_pixels // (width * height)}, save it as a baseline JPEG"
        )
    # Four bytes per pixel in Pillow, and the decoder's own memory.
    memory = int((4 + bare.depth) * width * height)
    if limits.max_memory is not None and memory > limits.max_memory:
        raise refused(
            f"image is {width}x{height} and would take {memory // _MIB} MiB to decode; at most "
            f"{limits.max_memory // _MIB} MiB are allowed, send a smaller one or a baseline JPEG"
        )


def _is_large(width: int, height: int, target: tuple[int, int]) -> bool:
    return width * height > _SPARE**2 * target[0] * target[1]


def _in_strips(image: Image.Image, factor: int) -> Pixels:
    """uint8 RGB, each side divided by `factor`, strip by strip, so that intermediate pixels take little memory."""
    width, height = image.size
    pixels = np.empty((-(-height // factor), -(-width // factor), 3), np.uint8)
    rows = max(_STRIP_PIXELS // (width * factor), 1)
    for row in range(0, len(pixels), rows):
        strip = image.crop((0, row * factor, width, min((row + rows) * factor, height)))
        flat = _flat(strip)
        pixels[row : row + rows] = np.asarray(flat.reduce(factor) if factor > 1 else flat)
    return pixels


def _flat(image: Image.Image) -> Image.Image:
    """Converts to RGB, blended onto white."""
    if image.mode.startswith("I"):  # one channel of 16 bits; Pillow's own conversion clips at 255
        return Image.fromarray(_from_16_bits(image))
    key = image.info.get("transparency")
    if image.mode == "RGB" and isinstance(key, tuple) and max(key) > 255:
        # Pillow reduces 48-bit pixels to their high bytes, but not the transparent colour.
        image.info["transparency"] = tuple(value >> 8 for value in key)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image if image.mode == "RGB" else image.convert("RGB")


def _from_16_bits(image: Image.Image) -> Pixels:
    values = np.asarray(image).astype(np.int64)  # (H, W)
    grey = np.clip((values * 255 + 32767) // 65535, 0, 255).astype(np.uint8)
    key = image.info.get("transparency")
    if isinstance(key, int):
        grey[values == key] = 255
    return np.repeat(grey[:, :, None], 3, axis=2)


def _unreadable(bare: Bare | None) -> Exception:
    *first, last = picture_formats()
    readable = f"{', '.join(first)} or {last}"
    if bare is None:
        return refused(f"image is not a picture that this server reads; send {readable}")
    if bare.format == "HEIC":
        return refused(f"image is HEIC, which this server reads only with pillow-heif installed; send {readable}")
    return refused(f"image is {bare.format}, which this server's Pillow does not read; send {readable}")
