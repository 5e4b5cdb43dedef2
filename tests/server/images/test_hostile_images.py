"""Pictures made to harm, broken ones and odd ones, through the routes and over a real socket: what a client receives,
what the engine gets, and that the server goes on."""

from __future__ import annotations

import base64
import io
import re
import struct
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from load_tests.acceptance.hostile import gif, png

# Words of PIL's, of Python's and of files; none of them is among ours.
INTERNAL = re.compile(
    r"BytesIO|\b0x[0-9a-f]|/tmp|/home|/usr|site-packages|Traceback|PIL|pillow|zlib|struct|broken data stream|"
    r"unrecognized|truncated|decompress|cannot identify|Error\b|\.py|NoneType|line \d",
    re.IGNORECASE,
)
KINDS = ["PNG", "JPEG", "WEBP", "GIF"]


def file_of(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def post_question(live: Any, data: bytes) -> httpx.Response:
    answer: httpx.Response = live.client.post(
        "/v1/vqa", json={"question": "what?", "image": base64.b64encode(data).decode()}
    )
    return answer


def upload(live: Any, data: bytes, name: str = "a.png", kind: str = "image/png") -> httpx.Response:
    answer: httpx.Response = live.client.post(
        "/v1/vqa", data={"question": "what?"}, files={"image": (name, data, kind)}
    )
    return answer


def refused(response: httpx.Response) -> str:
    assert response.status_code == 400, response.text
    error = response.json()["error"]
    assert (error["type"], error["param"], error["code"]) == ("invalid_request_error", "image", "invalid_value")
    assert not INTERNAL.search(error["message"]), error["message"]
    return str(error["message"])


def seen(live: Any, data: bytes) -> tuple[int, int, tuple[int, ...]]:
    """Width, height and mean colour of what the engine got; the small engine tells them in its answer."""
    response = post_question(live, data)
    assert response.status_code == 200, response.text
    size, *colour = response.json()["answer"].split()
    width, height = size.split("x")
    return int(width), int(height), tuple(int(value) for value in colour)


@pytest.fixture(autouse=True)
def _no_harm(shared: Any) -> Iterator[None]:
    pid = shared.worker.pid
    yield
    assert seen(shared, file_of(Image.new("RGB", (9, 8), (1, 2, 3)))) == (9, 8, (1, 2, 3))
    assert shared.worker.pid == pid


# Bombs


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: png(30_000, 30_000, b"\0" * 100), "30000x30000; .* 64000000 pixels"),
        (lambda: png(30_000, 30_000, bytes(30_000_000)), "30000x30000; .* 64000000 pixels"),
        (lambda: png(2**31 - 1, 2**31 - 1, b""), "2147483647x2147483647"),
        (lambda: gif(10_000), "more than 1000 frames"),
        (lambda: gif(100_000), "more than 1000 frames"),
    ],
    ids=["declared", "sent", "largest", "frames", "many-frames"],
)
def test_bombs(make: Callable[[], bytes], words: str, shared: Any) -> None:
    data = make()
    before = len(shared.engine.seen)
    for response in (post_question(shared, data), upload(shared, data)):
        assert re.search(words, refused(response))
    assert len(shared.engine.seen) == before


def test_a_thousand_frames_are_an_animation() -> None:
    with Image.open(io.BytesIO(gif(1000))) as image:
        assert getattr(image, "n_frames", 0) == 1000


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_frames_that_a_header_declares(kind: str, shared: Any) -> None:
    frames = [Image.new("RGB", (8, 8), (index % 256, index // 256, 0)) for index in range(1001)]
    assert "1000 frames" in refused(
        post_question(shared, file_of(frames[0], kind, save_all=True, append_images=frames[1:], lossless=True))
    )
    assert seen(shared, gif(1000)) == (8, 8, seen(shared, gif(1))[2])


# Broken


@pytest.mark.parametrize("kind", KINDS)
def test_cut_at_every_twentieth(kind: str, shared: Any) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3)).astype(np.uint8)
    whole = file_of(Image.fromarray(noise), kind)
    for percent in range(0, 100, 5):
        cut = whole[: len(whole) * percent // 100]
        if percent == 95 and post_question(shared, cut).status_code == 200:  # nothing but the end mark is missing
            continue
        refused(post_question(shared, cut) if percent % 10 else upload(shared, cut))


@pytest.mark.parametrize("kind", KINDS)
def test_flipped_bits(kind: str, shared: Any) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (24, 24, 3)).astype(np.uint8)
    whole = file_of(Image.fromarray(noise), kind)
    chance = np.random.default_rng(1)
    for _ in range(80):
        broken = bytearray(whole)
        broken[int(chance.integers(0, min(len(whole), 300)))] ^= 1 << int(chance.integers(0, 8))
        response = post_question(shared, bytes(broken))
        if response.status_code != 200:
            refused(response)


OTHERS = {
    "EPS": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 100 100\n%%EndComments\nshowpage\n",
    "PSD": b"8BPS\0\1" + b"\0" * 6 + struct.pack(">HIIHH", 3, 64, 64, 8, 3) + b"\0" * 100,
    "PDF": b"%PDF-1.7\n1 0 obj\n<< /Type /Catalog >>\nendobj\n",
    "SVG": b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>",
    "TIFF": file_of(Image.new("RGB", (16, 16)), "TIFF"),
    "BMP": file_of(Image.new("RGB", (16, 16)), "BMP"),
    "ICO": file_of(Image.new("RGB", (16, 16)), "ICO"),
    "script": b"#!/bin/sh\nexit 1\n",
    "zip": b"PK\x03\x04" + b"\0" * 60,
    "NUL": b"\0" * 1000,
}


@pytest.mark.parametrize("kind", OTHERS)
def test_other_files_under_a_pictures_name(kind: str, shared: Any) -> None:
    data = OTHERS[kind]
    url = "data:image/png;base64," + base64.b64encode(data).decode()
    by_url = shared.client.post("/v1/vqa", json={"question": "what?", "image": url})
    for response in (
        post_question(shared, data),
        by_url,
        upload(shared, data),
        upload(shared, data, "../../etc/passwd", "a/b"),
    ):
        message = refused(response)
        assert "PNG, JPEG, WEBP, GIF" in message and "passwd" not in message


# Odd


def test_modes(shared: Any) -> None:
    def near(data: bytes, colour: tuple[int, int, int], within: int = 2) -> None:
        width, height, found = seen(shared, data)
        assert (width, height) == (16, 12)
        assert max(abs(one - other) for one, other in zip(found, colour, strict=True)) <= within

    cyan = Image.new("CMYK", (16, 12), (255, 0, 0, 0))
    near(file_of(cyan, "JPEG"), (0, 255, 255), 3)
    near(file_of(Image.fromarray(np.full((12, 16), 0x8000, np.uint16))), (128, 128, 128), 1)
    near(file_of(Image.new("LA", (16, 12), (0, 128))), (127, 127, 127))
    near(file_of(Image.new("RGBA", (16, 12), (255, 0, 0, 0))), (255, 255, 255), 0)
    near(file_of(Image.new("1", (16, 12), 1)), (255, 255, 255), 0)
    palette = Image.new("P", (16, 12), 1)
    palette.putpalette([0, 0, 0, 0, 0, 255])
    near(file_of(palette), (0, 0, 255), 0)
    near(file_of(palette, transparency=1), (255, 255, 255), 0)
    frames = [Image.new("RGB", (16, 12), colour) for colour in ("red", "lime", "blue")]
    for kind in ("GIF", "WEBP", "PNG"):
        near(file_of(frames[0], kind, save_all=True, append_images=frames[1:]), (255, 0, 0))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_cameras_orientation(orientation: int, shared: Any) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    turned = orientation >= 5
    width, height, colour = seen(shared, file_of(Image.new("RGB", (32, 16), (200, 10, 10)), "JPEG", exif=exif))
    assert (width, height) == ((16, 32) if turned else (32, 16))
    assert max(abs(one - other) for one, other in zip(colour, (200, 10, 10), strict=True)) <= 3


def test_the_smallest_and_the_narrowest(shared: Any) -> None:
    assert "1x1; each side must have at least 8" in refused(post_question(shared, file_of(Image.new("RGB", (1, 1)))))
    assert "1x10000" in refused(post_question(shared, file_of(Image.new("RGB", (1, 10_000)))))
    assert "at most 65535" in refused(post_question(shared, file_of(Image.new("1", (1_900_000, 8), 1))))
    assert seen(shared, file_of(Image.new("RGB", (8, 8_000), (5, 6, 7)))) == (8, 8_000, (5, 6, 7))
    # Far more than the model reads: it gets what it would make of it.
    assert seen(shared, file_of(Image.new("RGB", (4_000, 3_000), (5, 6, 7)))) == (64, 64, (5, 6, 7))


def test_a_strip_is_nothing_to_the_real_model(real: Any) -> None:
    pid = real.worker.pid
    for size in ((8, 65_000), (65_000, 8)):
        body = {"question": "what is it?", "image": base64.b64encode(file_of(Image.new("1", size, 1))).decode()}
        response = real.client.post("/v1/vqa", json={**body, "max_new_tokens": 2})
        assert response.status_code == 200, response.text
    assert real.worker.pid == pid


def test_metadata_goes_nowhere(shared: Any) -> None:
    """Neither what was sent with a picture nor anything of this server's is in what is generated."""
    secret = "sent-with-the-picture"
    info = PngImagePlugin.PngInfo()
    info.add_text("Comment", secret)
    response = post_question(shared, file_of(Image.new("RGB", (16, 12), (1, 2, 3)), pnginfo=info))
    assert secret not in response.text
    for kind in ("png", "jpeg", "webp"):
        generated = shared.client.post(
            "/v1/generate", json={"prompt": secret, "response_format": "binary", "output_format": kind}
        )
        assert secret.encode() not in generated.content and b"flashu" not in generated.content.lower()
        with Image.open(io.BytesIO(generated.content)) as image:
            image.load()
            assert not image.getexif()
            allowed = {
                "jfif",
                "jfif_version",
                "jfif_unit",
                "jfif_density",
                "loop",
                "background",
                "timestamp",
                "duration",
            }
            assert image.info.keys() <= allowed
