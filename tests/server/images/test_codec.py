"""The jobs of an image process as functions: what is sent becomes pixels, what is drawn becomes files."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

from flashu_core import InvalidRequestError, Pixels
from server.images.codec import decode_image, encode_image
from server.ipc.protocol import DecodeImage, EncodeImage

NOISE = np.random.default_rng(0).integers(0, 256, (24, 32, 3)).astype(np.uint8)


def decode(file: bytes, *, is_text: bool = False, side: int = 64, max_pixels: int = 10_000_000) -> Pixels:
    return decode_image(
        DecodeImage(
            file=file,
            is_text=is_text,
            max_pixels=max_pixels,
            min_side=8,
            max_memory=2**28,
            width=side,
            height=side,
            cpu_s=10.0,
        )
    )


def encode(pixels: Pixels, kind: str, quality: int) -> bytes:
    return encode_image(EncodeImage(pixels=pixels, output_format=kind, quality=quality, cpu_s=10.0))  # type: ignore[arg-type]


def test_what_is_written_can_be_read_and_has_no_metadata() -> None:
    assert (decode(encode(NOISE, "png", 5)) == NOISE).all()
    for kind in ("png", "jpeg", "webp"):
        file = encode(NOISE, kind, 90)
        with Image.open(io.BytesIO(file)) as image:
            assert image.format == kind.upper()
            assert not image.getexif()
            assert not {"icc_profile", "exif", "xmp", "comment"} & image.info.keys()
    assert len(encode(NOISE, "jpeg", 10)) < len(encode(NOISE, "jpeg", 95))


def test_base64_is_decoded_here_too() -> None:
    assert (decode(base64.b64encode(encode(NOISE, "png", 5)), is_text=True) == NOISE).all()
    with pytest.raises(InvalidRequestError, match="base64"):
        decode(b"%%%", is_text=True)


def test_limits_and_target_are_those_of_the_job() -> None:
    large = encode(np.full((400, 300, 3), 7, np.uint8), "png", 5)
    assert decode(large).shape == (64, 64, 3)
    assert decode(large, side=128).shape == (400, 300, 3)
    with pytest.raises(InvalidRequestError, match=r"300x400; .* 1000 pixels"):
        decode(large, max_pixels=1000)
