"""A converted checkpoint without a calibration: it is served, and the calibration of the first start is cached for the
next."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import flashu_core
from load_tests.acceptance.attacks.rig import Rig
from load_tests.acceptance.server_process import ServerError
from load_tests.acceptance.target import Target
from load_tests.bench.bodies import Bodies
from load_tests.bench.client import Client

_EMBEDDED = Path(flashu_core.__file__).parent / "assets" / "shapes-64"
_CALIBRATION = "calibration.safetensors"
_FIRST_S = 30.0
_FASTER = 0.8  # of the first start, the second


async def run(rig: Rig) -> Sequence[Target]:
    with tempfile.TemporaryDirectory() as folder:
        checkpoint, cache = Path(folder, "checkpoint"), Path(folder, "cache")
        _copy(checkpoint)
        first_s, first = await _start(rig, checkpoint, cache)
        second_s, second = (None, first) if first_s is None else await _start(rig, checkpoint, cache)
    return judge(first_s, first, second_s, second)


def judge(first_s: float | None, first: str, second_s: float | None, second: str) -> list[Target]:
    """Judges seconds of two starts up to the first responses; None if there was none, with the reason."""
    what = "a checkpoint without calibration"
    both = first_s is not None and second_s is not None
    return [
        Target(name=f"{what}: the first picture and answer", unit="s", limit=_FIRST_S, measured=first_s, note=first),
        Target(
            name=f"{what}: the second start, of the first",
            unit="",
            limit=_FASTER,
            measured=second_s / first_s if first_s is not None and second_s is not None else None,
            note=f"{second_s:.1f} s of {first_s:.1f} s" if both else second,
        ),
    ]


def _copy(checkpoint: Path) -> None:
    """Copies the embedded model without its calibration, also in its manifest."""
    shutil.copytree(_EMBEDDED, checkpoint, ignore=shutil.ignore_patterns(_CALIBRATION))
    manifest = checkpoint / "manifest.json"
    listed = json.loads(manifest.read_text())
    listed["files"].pop(_CALIBRATION, None)
    manifest.write_text(json.dumps(listed))


async def _start(rig: Rig, checkpoint: Path, cache: Path) -> tuple[float | None, str]:
    """Seconds from the start to an image and an answer, or the reason without them."""
    begun = time.perf_counter()
    try:
        with rig.server(str(checkpoint), environment={"XDG_CACHE_HOME": str(cache)}, ready_s=_FIRST_S) as server:
            bodies = Bodies(rig.seed)
            client = Client(server.base_url)
            for task in ("generate", "vqa"):
                reply = await client.exchange(bodies.next(task))
                if reply.status != 200:
                    return None, f"{task}: status {reply.status}"
            return time.perf_counter() - begun, ""
    except ServerError as error:
        return None, str(error).splitlines()[0]
