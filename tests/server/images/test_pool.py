"""Pictures in real image processes: what comes back, what a picture may take, and who waits for whom."""

from __future__ import annotations

import asyncio
import base64
import io
import os
import re
import signal
import sys
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pillow_heif
import pytest
from PIL import Image

from flashu_core import DeadlineExceededError, InvalidRequestError, Pixels
from server.errors import InternalError
from server.images.pool import ImageLimits, ImagePool

NOISE = np.random.default_rng(0).integers(0, 256, (24, 32, 3)).astype(np.uint8)
SMALL = (64, 64)


def soon(seconds: float = 60.0) -> float:
    return time.monotonic() + seconds


def png(pixels: Pixels) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def pids(pool: ImagePool, name: str) -> set[int]:
    return {pid for one in pool.pools if one.name == name for pid in one.pids}


async def is_up(pool: ImagePool) -> None:
    await pool.decode(png(NOISE), SMALL, soon())
    await pool.encode(NOISE, "png", 100, soon())


@pytest.fixture
async def pool() -> AsyncIterator[ImagePool]:
    made = ImagePool(ImageLimits(timeout_s=1.0), processes=1)
    made.start()
    yield made
    await made.stop()


async def test_pictures_come_back_as_files_and_text(pool: ImagePool) -> None:
    file = png(NOISE)
    text = "data:image/png;base64," + base64.b64encode(file).decode()
    for sent in (file, text):
        assert (await pool.decode(sent, SMALL, soon()) == NOISE).all()
    large = np.full((700, 900, 3), 9, np.uint8)
    assert (await pool.decode(png(large), SMALL, soon())).shape == (64, 64, 3)
    encoded = await pool.encode(NOISE, "png", 100, soon())
    assert (await pool.decode(encoded, SMALL, soon()) == NOISE).all()
    for sent in (b"no picture", "no base64: ä", "no base64: \ud800"):
        with pytest.raises(InvalidRequestError, match="image is no"):
            await pool.decode(sent, SMALL, soon())


async def test_encoding_waits_for_no_decoding(pool: ImagePool) -> None:
    await is_up(pool)
    for pid in pids(pool, "decode"):
        os.kill(pid, signal.SIGSTOP)
    decoding = asyncio.ensure_future(pool.decode(png(NOISE), SMALL, soon()))
    assert await pool.encode(NOISE, "webp", 80, soon())
    assert not decoding.done()
    with pytest.raises(InvalidRequestError, match="longer than 1 s"):
        await decoding
    assert (await pool.decode(png(NOISE), SMALL, soon()) == NOISE).all()


async def test_a_process_that_is_killed_before_it_read_a_picture_fails_nobody(pool: ImagePool) -> None:
    await is_up(pool)
    both = pids(pool, "decode") | pids(pool, "encode")
    for pid in both:
        os.kill(pid, signal.SIGSTOP)
    decoding = asyncio.ensure_future(pool.decode(png(NOISE), SMALL, soon()))
    encoding = asyncio.ensure_future(pool.encode(NOISE, "png", 100, soon()))
    await asyncio.sleep(0.1)
    for pid in both:
        os.kill(pid, signal.SIGKILL)
    assert (await decoding == NOISE).all()
    assert await encoding


async def test_a_picture_that_kills_its_decoder_is_refused_and_an_encoder_is_tried_twice(tmp_path: Path) -> None:
    pool = ImagePool(ImageLimits(), processes=1)
    toy = (sys.executable, str(Path(__file__).with_name("toy_image_process.py")), str(tmp_path))
    for one in pool.pools:
        one._program = toy
    decoders, encoders = pool.pools
    pool.start()
    try:
        with pytest.raises(InvalidRequestError, match="cannot be decoded"):
            await pool.decode(b"SIGSEGV", SMALL, soon())
        assert decoders.replaced["died"] == 1
        with pytest.raises(InternalError):  # it dies of whatever is no job of a decoder's
            await pool.encode(NOISE, "png", 100, soon())
        assert encoders.replaced["died"] == 2
    finally:
        await pool.stop()


async def test_deadlines_hold_for_both(pool: ImagePool) -> None:
    await is_up(pool)
    with pytest.raises(DeadlineExceededError):
        await pool.encode(NOISE, "png", 100, time.monotonic())
    for name in ("decode", "encode"):
        for pid in pids(pool, name):
            os.kill(pid, signal.SIGSTOP)
    with pytest.raises(DeadlineExceededError):
        await pool.encode(NOISE, "png", 100, soon(0.1))
    with pytest.raises(DeadlineExceededError):
        await pool.decode(png(NOISE), SMALL, soon(0.1))


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
async def test_a_process_is_small_and_bounded(pool: ImagePool) -> None:
    await is_up(pool)
    for pid in pids(pool, "decode") | pids(pool, "encode"):
        limits = Path(f"/proc/{pid}/limits").read_text()
        found = re.search(r"Max address space +(\d+)", limits)
        assert found and int(found[1]) < 2**30 + 2**28
        assert re.search(r"Max cpu time +\d+", limits)
        assert re.search(r"Max core file size +0 ", limits)
        status = Path(f"/proc/{pid}/status").read_text()
        own = re.search(r"RssAnon:\s+(\d+) kB", status)
        assert own and int(own[1]) < 48 * 1024
        assert "torch" not in Path(f"/proc/{pid}/maps").read_text()


def halves(width: int, height: int, kind: str, **options: Any) -> bytes:
    """A picture, red on the left and blue on the right."""
    image = Image.new("RGB", (width, height), "red")
    image.paste("blue", (width // 2, 0, width, height))
    file = io.BytesIO()
    if kind == "HEIC":
        pillow_heif.from_pillow(image).save(file, **options)
    else:
        image.save(file, kind, **options)
    return file.getvalue()


@pytest.mark.parametrize(
    ("kind", "size", "options"),
    [
        ("JPEG", (6000, 4000), {}),
        ("JPEG", (6000, 4000), {"progressive": True}),
        ("JPEG", (8688, 5792), {}),
        ("PNG", (8688, 5792), {"compress_level": 1}),
        ("WEBP", (6000, 4000), {"method": 0}),
        ("AVIF", (6000, 4000), {"speed": 10}),
        ("HEIC", (4032, 3024), {"enc_params": {"preset": "ultrafast"}}),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
async def test_pictures_as_large_as_cameras_make_them(
    kind: str, size: tuple[int, int], options: dict[str, Any]
) -> None:
    """24 and 50 megapixels, within the memory that a process has by default."""
    pool = ImagePool(ImageLimits(timeout_s=120.0), processes=1)
    pool.start()
    try:
        pixels = await pool.decode(halves(*size, kind, **options), SMALL, soon(120.0))
        assert pixels.shape == (64, 64, 3)
        assert np.abs(pixels[:, :30].astype(int) - (255, 0, 0)).max() <= 6
        assert np.abs(pixels[:, 34:].astype(int) - (0, 0, 255)).max() <= 6
        assert pool.pools[0].replaced == {"timeout": 0, "died": 0}
    finally:
        await pool.stop()


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel bounds address space")
async def test_what_takes_more_memory_than_there_is_is_refused_and_harms_nobody() -> None:
    """A limit so low that the second line, the kernel's, is met before the first."""
    pool = ImagePool(ImageLimits(max_memory=2**34, max_file_bytes=0, max_pixels=2**28), processes=1)
    for one in pool.pools:
        one._program = (*one._program[:-1], str(200 * 2**20))
    pool.start()
    try:
        wide = io.BytesIO()
        Image.new("L", (16_000, 16_000)).save(wide, "PNG", compress_level=1)
        with pytest.raises(InvalidRequestError, match="memory"):
            await pool.decode(wide.getvalue(), SMALL, soon())
        assert (await pool.decode(png(NOISE), SMALL, soon()) == NOISE).all()
        assert sum(one.replaced["died"] for one in pool.pools) == 0
    finally:
        await pool.stop()


def test_keys_take_turns_with_their_pictures(toy: Any, serving: Any) -> None:
    keys = {"alice": "sk-alice-5f0c9d1e7a", "bob": "sk-bob-0123456789"}
    listed = ",".join(f"{name}:{key}" for name, key in keys.items())
    picture = base64.b64encode(png(NOISE)).decode()
    with serving(toy(), api_keys=listed, image_processes=1) as live, ThreadPoolExecutor() as pool:
        live.wait_until_ready()
        decoders = live.images.pools[0]
        live.wait_for(lambda: len(decoders.pids) == 1)
        (pid,) = decoders.pids

        def decode_one(question: str, name: str) -> int:
            headers = {"authorization": f"Bearer {keys[name]}"}
            body = {"question": question, "image": picture}
            answer: httpx.Response = live.client.post("/v1/vqa", json=body, headers=headers)
            return answer.status_code

        os.kill(pid, signal.SIGSTOP)
        try:
            answers = []
            for count, question in enumerate(("alice 1", "alice 2", "alice 3", "bob 1"), start=1):
                answers.append(pool.submit(decode_one, question, question.partition(" ")[0]))
                live.wait_for(lambda count=count: decoders.running + decoders.waiting == count)
        finally:
            os.kill(pid, signal.SIGCONT)
        assert [one.result() for one in answers] == [200] * 4
        assert [one.text for one in live.engine.seen] == ["alice 1", "alice 2", "bob 1", "alice 3"]
