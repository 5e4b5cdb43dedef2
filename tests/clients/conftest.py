"""What the tests of other people's clients share: a server with the embedded model, started as its users start it, and
a picture to ask about. They run in an environment of their own (`make clients`)."""

from __future__ import annotations

import base64
import importlib.util
import io
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
ASKED = "What colour is the square?"

# In the server's own environment the clients are not installed, and there is nothing to collect.
collect_ignore_glob = [] if importlib.util.find_spec("litellm") else ["test_*.py"]

# None of the clients is to call home, nor to look for prices or models.
os.environ.update(
    DO_NOT_TRACK="1",
    HF_HUB_OFFLINE="1",
    LANGSMITH_TRACING="false",
    LITELLM_LOCAL_MODEL_COST_MAP="True",
    LITELLM_TELEMETRY="False",
    OMP_NUM_THREADS="1",
    PROMPTFOO_DISABLE_TELEMETRY="1",
    PROMPTFOO_DISABLE_UPDATE="1",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.clients)


@dataclass(frozen=True)
class Server:
    """A server that is ready; `api` is what clients call the base URL."""

    url: str
    model: str

    @property
    def api(self) -> str:
        return f"{self.url}/v1"


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """`flashu serve`; `CLIENTS_SERVER` is its command, `CLIENTS_URL` the address of one that runs already."""
    if url := os.environ.get("CLIENTS_URL"):
        yield Server(url, "shapes-64")
        return
    command = os.environ.get("CLIENTS_SERVER", str(ROOT / ".venv/bin/flashu"))
    process = subprocess.Popen(
        [command, "serve", "--port", "0", "--max-queue-seconds", "300"], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    with stopped(process):
        assert process.stdout is not None
        for line in process.stdout:
            if " is ready on " in line:
                model, _, url = line.strip().partition(" is ready on ")
                break
        else:
            pytest.fail("the server ended before it was ready")
        # Nobody else reads what it says.
        threading.Thread(target=process.stdout.read, daemon=True).start()
        yield Server(url, model)


class stopped:  # noqa: N801 # reads as words
    """Ends a process, gently at first, when the block ends."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def __enter__(self) -> subprocess.Popen[str]:
        return self._process

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        try:
            self._process.wait(60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


@pytest.fixture(scope="session")
def picture() -> bytes:
    """A PNG of a blue square."""
    from PIL import Image, ImageDraw

    image = Image.new("RGB", (64, 64), "white")
    ImageDraw.Draw(image).rectangle((16, 16, 48, 48), fill=(30, 60, 220))
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="session")
def data_url(picture: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(picture).decode()


@pytest.fixture(scope="session")
def looking(data_url: str) -> list[Any]:
    """A chat about the picture, as most clients send it."""
    parts = [{"type": "text", "text": ASKED}, {"type": "image_url", "image_url": {"url": data_url}}]
    return [{"role": "user", "content": parts}]


@pytest.fixture(scope="session")
def is_picture() -> Callable[[str | None], bool]:
    """Whether base64 or a data URL is a picture of the size that the model draws."""
    from PIL import Image

    def check(text: str | None) -> bool:
        assert text is not None
        with Image.open(io.BytesIO(base64.b64decode(text.rpartition(",")[2]))) as image:
            return image.size == (64, 64)

    return check


@pytest.fixture(scope="session")
def tool() -> Callable[..., str]:
    """Runs a command of the clients' environment and returns what it prints; it must end well."""

    def run(name: str, *arguments: str, cwd: Path | None = None, **environment: str) -> str:
        ended = subprocess.run(
            [str(Path(sys.executable).parent / name), *arguments],
            env={**os.environ, **environment},
            cwd=cwd,
            capture_output=True,
            text=True,
            timeout=120,
            stdin=subprocess.DEVNULL,
        )
        assert ended.returncode == 0, (ended.stdout[-2000:], ended.stderr[-2000:])
        return ended.stdout

    return run


@pytest.fixture(scope="session")
def node() -> Callable[..., Any]:
    """Runs a program below `npm/` and returns the JSON that it prints."""
    if shutil.which("node") is None:
        pytest.skip("node is not installed")
    folder = HERE / "npm"
    if not (folder / "node_modules/.installed").exists():  # the last thing that make does there
        pytest.skip("npm's packages are not installed; make clients installs them where npm and its registry are")

    def run(*arguments: str) -> Any:
        ended = subprocess.run(["node", *arguments], cwd=folder, capture_output=True, text=True, timeout=120)
        assert ended.returncode == 0, ended.stderr[-2000:]
        return json.loads(ended.stdout)

    return run
