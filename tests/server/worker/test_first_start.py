"""Checkpoints without a calibration, as every freshly converted or published one is, served over HTTP: the worker
measures what it lacks before the first request, keeps it where it can, and serves where it cannot."""

from __future__ import annotations

import base64
import io
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from flashu_core.acceleration.calibration import FILE
from flashu_core.checkpoint.convert import convert
from flashu_core.checkpoint.load import EMBEDDED
from server.ipc.child_process import PROGRAM

MEASURED, KEPT, NOT_KEPT = "measuring which neurons matter", "calibration is kept in", "measured again"
STEPS = 4
linux = pytest.mark.skipif(sys.platform != "linux", reason="limits a process as Linux does")
# Real limits, which hold for root too: nothing can be written, as on a full disk; modes count, as for any other user.
FULL_DISK = """
import os, resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (32768, 32768))  # a log fits, a calibration does not
os.execv(sys.argv[1], sys.argv[1:])
"""
UNPRIVILEGED = """
import ctypes, os, sys
for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
    ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP; who may not has none
os.execv(sys.argv[1], sys.argv[1:])
"""


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's cache, where a calibration goes that cannot lie beside its checkpoint."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "flashu"


@pytest.fixture(params=["embedded", "random"])
def folder(request: pytest.FixtureRequest, tmp_path: Path, published: Any) -> Path:
    if request.param == "random":
        return Path(published.folder)
    convert(EMBEDDED, tmp_path / "converted")
    return tmp_path / "converted"


@pytest.fixture
def converted(tmp_path: Path) -> Path:
    convert(EMBEDDED, tmp_path / "converted")
    return tmp_path / "converted"


def generate_and_answer(live: Any) -> None:
    """A picture and an answer with the default policy, which needs the calibration."""
    generated = live.client.post(
        "/v1/generate", json={"prompt": "a red circle", "num_inference_steps": STEPS, "seed": 1}
    )
    assert generated.status_code == 200, generated.text
    assert generated.json()["schedule"]["backbone_pruned"] > 0
    picture = generated.json()["images"][0]["b64_json"]
    with Image.open(io.BytesIO(base64.b64decode(picture))) as image:
        assert np.asarray(image).std() > 0
    requested = {"question": "what colour is the circle?", "image": picture, "max_new_tokens": 4}
    answer = live.client.post("/v1/vqa", json=requested)
    assert answer.status_code == 200, answer.text
    assert answer.json()["usage"]["completion_tokens"] > 0


def test_it_is_measured_once_and_kept_beside_the_checkpoint(
    folder: Path, cache: Path, serving: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with serving(None, model=str(folder), dtype="float32") as live:
        live.wait_until_ready()
        generate_and_answer(live)
        assert live.worker.restarts == 0
        live.wait_for(lambda: f"{KEPT} {folder / FILE}" in caplog.text)
    assert MEASURED in caplog.text
    caplog.clear()
    written = (folder / FILE).read_bytes()
    assert not cache.exists()
    with serving(None, model=str(folder), dtype="float32") as live:
        live.wait_until_ready()
        generate_and_answer(live)
    assert MEASURED not in caplog.text
    assert (folder / FILE).read_bytes() == written


@pytest.fixture
def closed(converted: Path) -> Iterator[Path]:
    """A checkpoint in a folder that may be read only."""
    converted.chmod(0o555)
    yield converted
    converted.chmod(0o755)


def limited(program: str) -> dict[str, Any]:
    return {"program": (sys.executable, "-c", program, *PROGRAM)}


@linux
def test_beside_a_folder_that_may_only_be_read_it_is_kept_in_the_users_cache(
    closed: Path, cache: Path, serving: Any, caplog: pytest.LogCaptureFixture
) -> None:
    for start in range(2):
        with serving(None, model=str(closed), dtype="float32", **limited(UNPRIVILEGED)) as live:
            live.wait_until_ready()
            generate_and_answer(live)
        assert (MEASURED in caplog.text) == (start == 0)
        caplog.clear()
    (kept,) = cache.iterdir()
    assert not (closed / FILE).exists()
    assert kept.suffix == ".safetensors"


@linux
def test_where_nothing_can_be_written_it_serves_all_the_same(
    converted: Path, cache: Path, serving: Any, caplog: pytest.LogCaptureFixture
) -> None:
    before = {path.name for path in converted.iterdir()}
    with serving(None, model=str(converted), dtype="float32", **limited(FULL_DISK)) as live:
        live.wait_until_ready()
        generate_and_answer(live)
        assert live.worker.restarts == 0
        live.wait_for(lambda: NOT_KEPT in caplog.text)
    assert {path.name for path in converted.iterdir()} == before
    assert not cache.exists() or not list(cache.iterdir())
