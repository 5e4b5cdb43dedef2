"""Pictures in all the forms clients send: the right pixels, or an error of our own words."""

from __future__ import annotations

import io
import re
import struct
import time
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pillow_heif
import pytest
from PIL import Image, PngImagePlugin

from flashu_core import InvalidRequestError, PictureLimits, Pixels, decode_picture, picture_formats

LIMITS = PictureLimits()
PIL_WORDS = re.compile(r"BytesIO|\b0x[0-9a-f]{4}|/tmp|/work|Traceback|PIL|zlib|struct", re.IGNORECASE)


def file_of(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def grey(value: int, mode: str = "L") -> Image.Image:
    return Image.new(mode, (16, 12), value)


def refused(data: bytes, limits: PictureLimits = LIMITS) -> str:
    with pytest.raises(InvalidRequestError) as caught:
        decode_picture(data, limits)
    assert caught.value.parameter == "image"
    assert not PIL_WORDS.search(str(caught.value))
    return str(caught.value)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, *, bits: int, colour: int, rows: bytes, extra: bytes = b"") -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + extra + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF"])
def test_the_four_formats(kind: str) -> None:
    pixels = decode_picture(file_of(Image.new("RGB", (16, 12), (255, 0, 0)), kind), LIMITS)
    assert (pixels.dtype, pixels.shape) == (np.uint8, (12, 16, 3))
    assert np.abs(pixels.astype(int) - [255, 0, 0]).max() <= 2


def test_sixteen_bits_are_scaled_not_clipped() -> None:
    ramp = np.linspace(0, 65535, 256).round().astype(np.uint16).reshape(16, 16)
    pixels = decode_picture(file_of(Image.fromarray(ramp)), LIMITS)
    assert (pixels[..., 0].ravel() == np.arange(256)).all()


def test_sixteen_bit_key_is_transparent() -> None:
    rows = b"".join(b"\0" + struct.pack(">H", 1000) * 8 + struct.pack(">H", 30000) * 8 for _ in range(8))
    key = chunk(b"tRNS", struct.pack(">H", 1000))
    pixels = decode_picture(png(16, 8, bits=16, colour=0, rows=rows, extra=key), LIMITS)
    assert (pixels[:, :8] == 255).all()
    assert (pixels[:, 8:] == 117).all()


def test_48_bit_colour_with_a_key() -> None:
    rows = b"".join(
        b"\0" + struct.pack(">HHH", 0x1234, 0, 0) * 8 + struct.pack(">HHH", 0, 0xFFFF, 0) * 8 for _ in range(8)
    )
    key = chunk(b"tRNS", struct.pack(">HHH", 0x1234, 0, 0))
    pixels = decode_picture(png(16, 8, bits=16, colour=2, rows=rows, extra=key), LIMITS)
    assert (pixels[:, :8] == 255).all()
    assert (pixels[:, 8:] == [0, 255, 0]).all()


def test_transparency_lies_on_white() -> None:
    half_black = Image.new("LA", (16, 12), (0, 128))
    assert np.abs(decode_picture(file_of(half_black), LIMITS).astype(int) - 127).max() <= 1
    clear_red = Image.new("RGBA", (16, 12), (255, 0, 0, 0))
    assert (decode_picture(file_of(clear_red), LIMITS) == 255).all()
    assert (decode_picture(file_of(clear_red, "WEBP", lossless=True), LIMITS) == 255).all()


@pytest.mark.parametrize("kind", ["PNG", "GIF"])
def test_a_palette_with_a_transparent_entry(kind: str) -> None:
    image = Image.new("P", (16, 12), 1)
    image.putpalette([0, 0, 0, 0, 0, 255, 0, 255, 0])
    image.paste(2, (0, 0, 8, 12))
    pixels = decode_picture(file_of(image, kind, transparency=1), LIMITS)
    assert (pixels[:, :8] == [0, 255, 0]).all()
    assert (pixels[:, 8:] == 255).all()


def test_keys_of_grey_and_rgb() -> None:
    assert (decode_picture(file_of(grey(7), transparency=7), LIMITS) == 255).all()
    assert (decode_picture(file_of(grey(8), transparency=7), LIMITS) == 8).all()
    red = Image.new("RGB", (16, 12), (255, 0, 0))
    assert (decode_picture(file_of(red, transparency=(255, 0, 0)), LIMITS) == 255).all()


def test_black_and_white_and_cmyk() -> None:
    assert (decode_picture(file_of(Image.new("1", (16, 12), 1)), LIMITS) == 255).all()
    cyan = decode_picture(file_of(Image.new("CMYK", (16, 12), (255, 0, 0, 0)), "JPEG"), LIMITS)
    assert np.abs(cyan.astype(int) - [0, 255, 255]).max() <= 3


def heic(pixels: Pixels, **options: Any) -> bytes:
    file = io.BytesIO()
    pillow_heif.from_pillow(Image.fromarray(pixels)).save(file, quality=95, **options)
    return file.getvalue()


def avif(pixels: Pixels, **options: Any) -> bytes:
    return file_of(Image.fromarray(pixels), "AVIF", quality=95, **options)


@pytest.mark.parametrize("make", [avif, heic])
def test_avif_and_heic(make: Callable[..., bytes]) -> None:
    red = np.full((64, 80, 3), (255, 0, 0), np.uint8)
    whole = make(red)
    pixels = decode_picture(whole, LIMITS)
    assert (pixels.dtype, pixels.shape) == (np.uint8, red.shape)
    assert np.abs(pixels.astype(int) - red).max() <= 6
    for percent in range(0, 100, 10):
        refused(whole[: len(whole) * percent // 100])
    assert "80x64" in refused(whole, PictureLimits(max_pixels=1000))
    assert "MiB" in refused(whole, PictureLimits(max_memory=10_000))


def heic_with_thumbnail(pixels: Pixels, thumbnail: Pixels) -> bytes:
    """A HEIC with a thumbnail that may show anything."""
    made = pillow_heif.from_pillow(Image.fromarray(pixels))
    made.add_from_pillow(Image.fromarray(thumbnail))
    file = io.BytesIO()
    made.save(file, quality=95, thumbnails=[len(thumbnail)])
    # The items are the picture, a thumbnail made of it, and the other picture, which becomes the thumbnail.
    reference, changed = (b"thmb" + struct.pack(">HHH", item, 1, 1) for item in (2, 3))
    assert file.getvalue().count(reference) == 1
    return file.getvalue().replace(reference, changed)


def test_a_thumbnail_is_not_taken_for_the_picture() -> None:
    red, blue = np.full((256, 256, 3), (255, 0, 0), np.uint8), np.full((128, 128, 3), (0, 0, 255), np.uint8)
    file = heic_with_thumbnail(red, blue)
    with pillow_heif.HeifImageFile(io.BytesIO(file)) as library:  # takes it where a small picture will do
        library.draft("RGB", (64, 64))
        assert np.abs(np.asarray(library).astype(int) - blue).max() <= 6
    for target in (None, (16, 16), (64, 64)):
        pixels = decode_picture(file, LIMITS, target)
        assert np.abs(pixels.astype(int) - [255, 0, 0]).max() <= 6, target


def test_an_exif_thumbnail_is_not_taken_for_the_picture() -> None:
    red, blue = (Image.new("RGB", (256, 256), colour) for colour in ("red", "blue"))
    small = file_of(blue.resize((128, 128)), "JPEG")
    # The first directory is empty, the second one says where the thumbnail is and how long.
    tiff = b"II*\0" + struct.pack("<IHIHHHIIHHIII", 8, 0, 14, 2, 0x201, 4, 1, 44, 0x202, 4, 1, len(small), 0)
    for kind in ("JPEG", "WEBP", "PNG", "AVIF"):
        file = file_of(red, kind, exif=b"Exif\0\0" + tiff + small)
        assert small in file
        for target in (None, (16, 16)):
            pixels = decode_picture(file, LIMITS, target)
            assert np.abs(pixels.astype(int) - [255, 0, 0]).max() <= 6, (kind, target)


def test_heic_where_its_library_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    file = heic(np.zeros((64, 64, 3), np.uint8))
    assert "HEIC" in picture_formats()
    monkeypatch.setattr("flashu_core.images.decode.find_spec", lambda name: None)
    assert "HEIC" not in picture_formats()
    words = "HEIC, which this server reads only with pillow-heif installed; send PNG, JPEG, WEBP, GIF"
    with pytest.raises(InvalidRequestError, match=words):
        decode_picture(file, LIMITS)


def test_avif_where_pillow_lacks_it(monkeypatch: pytest.MonkeyPatch) -> None:
    file = avif(np.zeros((64, 64, 3), np.uint8))
    monkeypatch.setattr("flashu_core.images.decode.features.check", lambda name: False)
    words = "AVIF, which this server's Pillow does not read; send PNG, JPEG, WEBP, GIF"
    with pytest.raises(InvalidRequestError, match=words):
        decode_picture(file, LIMITS)


def test_other_files_in_boxes_are_not_pictures() -> None:
    for brand in (b"isom", b"qt  ", b"mif1"):
        assert "not a picture" in refused(b"\0\0\0\x14ftyp" + brand + b"\0\0\0\0" + brand + b"\0" * 200)


@pytest.mark.parametrize("kind", ["JPEG", "AVIF", "HEIC"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(orientation: int, kind: str) -> None:
    # A camera that stores `stored` with this tag means `upright`.
    stored = np.zeros((32, 48, 3), np.uint8)
    stored[:16, :24] = (255, 0, 0)
    stored[:16, 24:] = (0, 255, 0)
    stored[16:, :24] = (0, 0, 255)
    turns: dict[int, Callable[[np.ndarray], np.ndarray]] = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: np.rot90(a, -1),
        7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
        8: lambda a: np.rot90(a, 1),
    }
    exif = Image.Exif()
    exif[0x0112] = orientation
    if kind == "HEIC":
        file = heic(stored, exif=exif.tobytes(), chroma=444)
    else:
        file = file_of(Image.fromarray(stored), kind, exif=exif, quality=95, subsampling="4:4:4")
    expected = turns[orientation](stored)
    pixels = decode_picture(file, LIMITS)
    assert pixels.shape == expected.shape
    assert np.abs(pixels.astype(int) - expected).mean() < 4


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_broken_exif_does_not_spoil_the_picture() -> None:
    file = file_of(grey(100), "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + b"\xff" * 20)
    assert decode_picture(file, LIMITS).shape == (12, 16, 3)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_the_first_frame_of_an_animation(kind: str) -> None:
    frames = [Image.new("RGB", (16, 12), colour) for colour in ("red", "lime", "blue")]
    file = file_of(frames[0], kind, save_all=True, append_images=frames[1:])
    assert np.abs(decode_picture(file, LIMITS).astype(int) - [255, 0, 0]).max() <= 2


def test_too_small_and_very_narrow() -> None:
    assert "1x1" in refused(file_of(Image.new("RGB", (1, 1))))
    assert "1x10000" in refused(file_of(Image.new("RGB", (1, 10000))))
    assert decode_picture(file_of(Image.new("RGB", (8, 10000))), LIMITS).shape == (10000, 8, 3)
    assert decode_picture(file_of(Image.new("1", (65535, 8))), LIMITS).shape == (8, 65535, 3)
    assert "at most 65535" in refused(file_of(Image.new("1", (65536, 8))))


@pytest.mark.parametrize("side", [30_000, 10_000, 8_001, 2**31 - 1])
def test_header_bombs_are_refused_before_any_pixel(side: int) -> None:
    begun = time.perf_counter()
    assert str(LIMITS.max_pixels) in refused(png(side, side, bits=8, colour=2, rows=b"\0" * 100))
    assert time.perf_counter() - begun < 0.5


def test_webp_that_claims_a_huge_canvas() -> None:
    file = bytearray(file_of(Image.new("RGBA", (16, 12), (1, 2, 3, 4)), "WEBP"))
    assert file[12:16] == b"VP8X"
    file[24:30] = b"\xff\x3f\x00\xff\x3f\x00"
    begun = time.perf_counter()
    refused(bytes(file))
    assert time.perf_counter() - begun < 0.5


def test_text_chunk_bomb() -> None:
    bomb = PngImagePlugin.PngInfo()
    bomb.add_text("a", "x" * 50_000_000, zip=True)
    file = file_of(grey(1), pnginfo=bomb)
    begun = time.perf_counter()
    assert (decode_picture(file, LIMITS) == 1).all()  # what is no pixel is not unpacked
    assert time.perf_counter() - begun < 0.5


@pytest.mark.parametrize(
    "data",
    [b"", b"hello", b"<html></html>", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", b"8BPS\0\1" + b"\0" * 40],
)
def test_other_files(data: bytes) -> None:
    assert "PNG, JPEG, WEBP, GIF" in refused(data)


@pytest.mark.parametrize("kind", ["TIFF", "BMP", "EPS", "ICO", "TGA", "PPM"])
def test_other_picture_formats(kind: str) -> None:
    assert "PNG, JPEG, WEBP, GIF" in refused(file_of(Image.new("RGB", (16, 16)), kind))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "AVIF", "HEIC"])
def test_cut_files_and_flipped_bits_never_raise_anything_else(kind: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3)).astype(np.uint8)
    whole = heic(noise) if kind == "HEIC" else file_of(Image.fromarray(noise), kind)
    for percent in range(0, 95, 5):
        refused(whole[: len(whole) * percent // 100])
    random = np.random.default_rng(1)
    said: set[str] = set()
    for _ in range(150):
        broken = bytearray(whole)
        broken[int(random.integers(0, min(len(whole), 400)))] ^= 1 << int(random.integers(0, 8))
        try:
            assert decode_picture(bytes(broken), LIMITS).dtype == np.uint8
        except InvalidRequestError as error:
            said.add(str(error))
    assert not [words for words in said if PIL_WORDS.search(words)]
