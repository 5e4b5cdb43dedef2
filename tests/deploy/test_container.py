"""The image: built with buildah, started as a container engine would, and inspected. Needs root, buildah, debootstrap
and the package registries, so it runs only with CHECK_CONTAINER=1."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from server import __version__

ROOT = Path(__file__).parents[2]
IMAGE = "localhost/flashu-server"
BUILT_WITHIN_S = 3600.0

pytestmark = [
    pytest.mark.container,
    pytest.mark.skipif(os.environ.get("CHECK_CONTAINER") != "1", reason="CHECK_CONTAINER=1 builds the image"),
]


@dataclass(frozen=True)
class Built:
    """What the build printed about the started container, the image's configuration, and its files."""

    seen: dict[str, Any]
    config: dict[str, Any]
    files: Path

    @property
    def packages(self) -> Path:
        (found,) = self.files.glob("opt/flashu/lib/python3.*/site-packages")
        return found


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Built]:
    """The image, built once. CONTAINER_STORAGE names a folder of images to go on from."""
    given = os.environ.get("CONTAINER_STORAGE")
    storage = Path(given) if given else tmp_path_factory.mktemp("storage")
    command = ["sh", str(ROOT / "docker" / "build.sh"), "--storage", str(storage)]
    run = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=BUILT_WITHIN_S, check=False)
    assert run.returncode == 0

    def buildah(*arguments: str) -> str:
        where = ["--root", str(storage / "root"), "--runroot", str(storage / "run"), "--storage-driver", "vfs"]
        return subprocess.run(["buildah", *where, *arguments], stdout=subprocess.PIPE, text=True, check=True).stdout

    config = json.loads(buildah("inspect", "--type", "image", IMAGE))["Docker"]["config"]
    container = buildah("from", "--pull-never", IMAGE).strip()
    try:
        files = Path(buildah("mount", container).strip())
        yield Built(json.loads(run.stdout.splitlines()[-1]), config, files)
    finally:
        buildah("rm", container)


def test_it_serves_as_process_1_without_rights_on_a_read_only_root(built: Built) -> None:
    """A picture came, or the build would have failed; this is how."""
    assert built.seen["command"][1:] == ["-m", "server"]
    assert built.seen["first"] is True
    assert built.seen["user"] == 10001
    assert built.seen["capabilities"] == 0
    assert built.seen["writable"] == ["/cache", "/tmp"]
    assert built.seen["picture_bytes"] > 100


def test_its_configuration_is_what_an_engine_needs(built: Built) -> None:
    config = built.config
    assert config["User"] == "10001:10001"
    assert list(config["Volumes"]) == ["/cache"]
    assert list(config["ExposedPorts"]) == ["8000/tcp"]
    assert config["Healthcheck"]["Test"][0] == "CMD"
    labels = config["Labels"]
    assert labels["org.opencontainers.image.version"] == __version__
    assert labels["org.opencontainers.image.licenses"] == "Apache-2.0"


def test_it_holds_the_package_and_its_model(built: Built) -> None:
    assert (built.packages / "flashu_core/assets/shapes-64/model.safetensors").is_file()
    assert (built.packages / "server/worker/process.py").is_file()
    assert (built.packages / "opentelemetry/sdk").is_dir()


def test_it_holds_nothing_of_the_build(built: Built) -> None:
    assert not list(built.packages.glob("pip*"))
    assert not list(built.packages.glob("tests"))
    assert not [built.files / path for path in ("src", "opt/build") if (built.files / path).exists()]
    assert not [path for folder in ("mnt", "srv") for path in (built.files / folder).iterdir()]
    programs = {
        path.name
        for folder in ("usr/bin", "usr/local/bin", "opt/flashu/bin")
        for path in (built.files / folder).glob("*")
    }
    assert not programs & {"gcc", "cc", "c++", "make", "nvcc", "git", "curl"}


def test_its_user_owns_nothing_but_the_cache(built: Built) -> None:
    owned = [path for path in built.files.rglob("*") if path.lstat().st_uid == 10001]
    assert owned == [built.files / "cache"]
