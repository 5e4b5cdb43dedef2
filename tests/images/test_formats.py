"""What picture files are made of: what is damaged and what only looks so, and files that are more than they show."""

from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np
import pytest
from PIL import Image

from flashu_core import InvalidRequestError, PictureLimits, Pixels, decode_picture
from flashu_core.images.formats import FormatLimits, bare_file
from load_tests.acceptance.heavy_pictures import exif, gif_comments, heavy_pictures, jpeg_scan, refining_scans
from load_tests.acceptance.hostile import gif, png_chunk, scan_bomb

NOISE = np.random.default_rng(0).integers(0, 256, (40, 48, 3)).astype(np.uint8)
ORIENTATION = 0x0112
MANY = 100_000  # values of a tag
# How each is refused, or how large a picture it is after all.
HEAVY: dict[str, str | int] = {
    "JPEG, 1000 empty scans": "more than 100 scans",
    "JPEG, refining scans": 8000,
    "JPEG, comments": "segments, chunks or blocks",
    "JPEG, fill bytes": 8,
    "JPEG, fill bytes in its scan": 8,
    "GIF, comments": "segments, chunks or blocks",
    "PNG, orientation of 2.4 M values": 8,
    "PNG, empty chunks": "segments, chunks or blocks",
    "PNG, interlaced": 8000,
    "WebP, empty chunks": "segments, chunks or blocks",
    "WebP, one colour": 5656,
}


def file_of(pixels: Pixels, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


def decode(file: bytes) -> Pixels:
    return decode_picture(file, PictureLimits())


def refused(file: bytes) -> str:
    with pytest.raises(InvalidRequestError) as caught:
        decode(file)
    return str(caught.value)


# JPEG


@pytest.mark.parametrize(
    "options",
    [{}, {"progressive": True}, {"subsampling": "4:4:4"}, {"restart_marker_blocks": 2}],
    ids=["baseline", "progressive", "444", "restarts"],
)
def test_a_jpeg_that_lacks_only_its_end_is_read(options: dict[str, Any]) -> None:
    whole = file_of(NOISE, "JPEG", **options)
    assert whole.endswith(b"\xff\xd9")
    for cut in (whole[:-2], whole[:-1], whole[:-2] + b"\xff\xff"):
        assert (decode(cut) == decode(whole)).all()


@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_that_lacks_more_is_refused(progressive: bool) -> None:
    whole = file_of(NOISE, "JPEG", progressive=progressive)
    for missing in (5, 8, 20, 100, 300):
        assert "damaged" in refused(whole[:-missing])


def test_what_follows_a_jpeg_is_not_read() -> None:
    whole = file_of(NOISE, "JPEG")
    second = file_of(255 - NOISE, "JPEG")  # cameras put previews there
    for rest in (b"\0" * 1000, b"trailer", second, second * 200):
        assert (decode(whole + rest) == decode(whole)).all()


def test_scans_are_counted() -> None:
    assert (decode(scan_bomb(64, 99)) == 128).all()
    assert "more than 100 scans" in refused(scan_bomb(64, 100))


def test_scans_are_counted_by_what_they_cost() -> None:
    """One that refines nothing is a walk through all coefficients, for a few bytes."""
    assert "32 scans of 8000x8000; at that size it may have at most 31" in refused(refining_scans(1))
    assert (decode(scan_bomb(64, 60, refining=True)) == 128).all()


def test_fill_bytes_are_no_work() -> None:
    """Runs that a search would walk through once for each of their bytes, and a decoder once for each of its reads."""
    black = file_of(np.zeros((8, 8, 3), np.uint8), "JPEG")
    for more in (b"\xff" * 2_000_000, b"\xff" * 2_000_000 + b"\0", b"\xff\xff\xd0" * 500_000):
        assert (decode(jpeg_scan(more)) == decode(black)).all()


def test_a_jpeg_in_several_scans_is_held_as_coefficients() -> None:
    together = file_of(NOISE, "JPEG", subsampling="4:2:0")
    begin = together.index(b"\xff\xda")
    head = together[begin + 4 : begin + 14]
    assert head[0] == 3
    apart = [struct.pack(">HH", 0xFFDA, 8) + b"\1" + head[at : at + 2] + head[7:10] for at in (1, 3, 5)]
    separate = together[:begin] + b"\0".join(apart) + together[begin + 14 :]
    depths = []
    for file in (together, separate, file_of(NOISE, "JPEG", subsampling="4:2:0", progressive=True)):
        bare = bare_file(file, FormatLimits())
        assert bare is not None
        depths.append(bare.depth)
    assert depths == [0.0, 3.0, 3.0]  # two bytes for each of one and a half samples


# PNG


def with_chunk(file: bytes, kind: bytes, data: bytes, *, good: bool) -> bytes:
    """With one more chunk behind the header."""
    made = png_chunk(kind, data)
    if not good:
        made = made[:-1] + bytes([made[-1] ^ 1])
    return file[:33] + made + file[33:]


@pytest.mark.parametrize("kind", [b"tEXt", b"gAMA", b"iCCP", b"eXIf", b"prVt"])
@pytest.mark.parametrize("good", [True, False])
def test_what_is_no_pixel_of_a_png_may_be_damaged(kind: bytes, good: bool) -> None:
    file = with_chunk(file_of(NOISE, "PNG"), kind, b"a\0bc", good=good)
    assert (decode(file) == NOISE).all()


def test_transparency_with_a_bad_checksum_is_skipped() -> None:
    file = file_of(np.full((8, 8), 7, np.uint8), "PNG")
    assert (decode(with_chunk(file, b"tRNS", b"\0\7", good=True)) == 255).all()
    assert (decode(with_chunk(file, b"tRNS", b"\0\7", good=False)) == 7).all()


@pytest.mark.parametrize("kind", [b"IHDR", b"PLTE", b"IDAT"])
def test_a_bad_checksum_of_what_pixels_are_made_of_is_refused(kind: bytes) -> None:
    file = io.BytesIO()
    Image.fromarray(NOISE).quantize(16).save(file, "PNG")
    whole = bytearray(file.getvalue())
    at = whole.index(kind)
    (length,) = struct.unpack_from(">I", whole, at - 4)
    whole[at + 4 + length] ^= 1
    assert "damaged" in refused(bytes(whole))


def test_a_png_without_its_end_or_with_more_behind_it() -> None:
    whole = file_of(NOISE, "PNG")
    for file in (whole[:-12], whole[:-4], whole + b"trailing bytes", whole + whole):
        assert (decode(file) == NOISE).all()


# GIF, WebP and metadata


def test_comments_are_counted() -> None:
    one = decode(gif(1))
    assert (decode(gif_comments(1000)) == one).all()
    for many in (gif_comments(60_000), gif_comments(3_900_000)):
        assert "segments, chunks or blocks" in refused(many)


def in_jpeg(tags: bytes) -> bytes:
    whole, segment = file_of(NOISE, "JPEG", quality=95), b"Exif\0\0" + tags
    return whole[:2] + struct.pack(">HH", 0xFFE1, len(segment) + 2) + segment + whole[2:]


def test_an_orientation_of_many_values_is_none() -> None:
    """A reader of EXIF would unpack them all, or as many as are declared."""
    plain = file_of(NOISE, "JPEG", quality=95)
    declared = struct.pack("<HHII", ORIENTATION, 3, 2**31, 26)
    bare = b"II*\0" + struct.pack("<IH", 8, 1) + declared + struct.pack("<I", 0)
    for tags in (exif(30_000), bare, bare[:-8], exif(1)[:12]):
        assert (decode(in_jpeg(tags)) == decode(plain)).all()
        assert (decode(with_chunk(file_of(NOISE, "PNG"), b"eXIf", tags, good=True)) == NOISE).all()
        webp = file_of(NOISE, "WEBP", lossless=True, exif=b"Exif\0\0" + tags)
        assert (decode(webp) == NOISE).all()


def test_an_orientation_of_many_values_in_an_avif_is_none() -> None:
    other, that = (struct.pack("<HHI", tag, 3, MANY) for tag in (ORIENTATION + 1, ORIENTATION))
    file = file_of(NOISE, "AVIF", exif=exif(MANY).replace(that, other))  # its writer would unpack them, too
    assert file.count(other) == 1
    assert (decode(file.replace(other, that)) == decode(file_of(NOISE, "AVIF"))).all()


@pytest.fixture(scope="module")
def heavy() -> dict[str, bytes]:
    return dict(heavy_pictures())


@pytest.mark.parametrize("name", HEAVY)
def test_files_that_would_take_long_are_refused_or_read(name: str, heavy: dict[str, bytes]) -> None:
    expected = HEAVY[name]
    if isinstance(expected, str):
        assert expected in refused(heavy[name])
    else:
        side = min(expected, 64)  # of large ones only what a model reads
        assert decode_picture(heavy[name], PictureLimits(), (side, side)).shape == (side, side, 3)


def test_every_such_file_is_tried(heavy: dict[str, bytes]) -> None:
    assert heavy.keys() == HEAVY.keys()
