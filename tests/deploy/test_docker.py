"""The Dockerfile, the Compose file and their scripts: linted by their own tools and compared with the server's
settings."""

from __future__ import annotations

import fnmatch
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from server import __version__
from server.settings import PREFIX, Settings

ROOT = Path(__file__).parents[2]
TIMEOUT_S = 90.0
PROFILES = ("cpu", "gpu")
SERVERS = {"cpu": "server-cpu", "gpu": "server"}


def run(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False, **options)


def bare(**changes: str) -> dict[str, str]:
    """This process's environment without any setting of a server."""
    return {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)} | changes


@pytest.fixture(scope="session")
def root() -> Path:
    """The project's folder."""
    return ROOT


@pytest.fixture(scope="session")
def tool() -> Callable[[str], str]:
    """Finds a program of the extra `ops`; where it has to be there (CHECK_OPS=1), its lack is a failure."""

    def find(name: str) -> str:
        found = shutil.which(name, path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
        if found is not None:
            return found
        reason = f"there is no {name}; pip install -c constraints.txt -e '.[ops]' brings it"
        if os.environ.get("CHECK_OPS") == "1":
            pytest.fail(reason)
        pytest.skip(reason)

    return find


# The linters


def test_hadolint_finds_nothing(tool: Callable[[str], str], root: Path) -> None:
    checked = run([tool("hadolint"), "Dockerfile"], cwd=root)
    assert (checked.returncode, checked.stdout) == (0, "")


def test_shellcheck_finds_nothing(tool: Callable[[str], str], root: Path) -> None:
    scripts = sorted(str(path) for path in (root / "docker").glob("*.sh"))
    assert len(scripts) == 3
    checked = run([tool("shellcheck"), *scripts])
    assert (checked.returncode, checked.stdout) == (0, "")


# The image's recipe


def instructions(root: Path) -> list[tuple[str, str]]:
    """The Dockerfile's, comments gone and continued lines joined."""
    lines = [line for line in (root / "Dockerfile").read_text().splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    return [(line.split()[0], line.split(maxsplit=1)[1]) for line in joined.splitlines() if line.strip()]


def final_stage(root: Path) -> list[tuple[str, str]]:
    every = instructions(root)
    return every[max(at for at, (name, _) in enumerate(every) if name == "FROM") :]


def test_the_image_ends_as_a_fixed_user_that_is_not_root(root: Path) -> None:
    users = [value for name, value in final_stage(root) if name == "USER"]
    assert users[-1] == "10001:10001"
    names = [name for name, _ in final_stage(root)]
    assert names.index("USER") < names.index("ENTRYPOINT")


def test_nothing_runs_in_the_final_stage(root: Path) -> None:
    assert not [value for name, value in final_stage(root) if name in ("RUN", "ADD")]


def test_the_base_is_a_pinned_cuda_runtime_and_can_be_replaced(root: Path) -> None:
    every = instructions(root)
    stages = [value.split() for name, value in every if name == "FROM"]
    assert stages == [["${BASE}", "AS", "python"], ["python", "AS", "build"], ["python"]]
    (base,) = (value for name, value in every if name == "ARG" and value.startswith("BASE="))
    assert re.fullmatch(r"BASE=docker\.io/nvidia/cuda:\d+\.\d+\.\d+-base-ubuntu24\.04@sha256:[0-9a-f]{64}", base)


def test_libraries_of_the_base_s_cuda_do_not_go_before_torch_s(root: Path) -> None:
    (variables,) = (value for name, value in final_stage(root) if name == "ENV")
    (folders,) = re.findall(r"LD_LIBRARY_PATH=(\S+)", variables)
    assert not [folder for folder in folders.split(":") if "cuda" in folder]


def test_the_image_s_version_is_the_package_s(root: Path) -> None:
    assert ("ARG", f"VERSION={__version__}") in instructions(root)
    assert f"image: flashu-server:{__version__}\n" in (root / "docker-compose.yml").read_text()


def test_only_in_the_container_the_server_listens_on_every_address(root: Path) -> None:
    assert [value for _, value in final_stage(root) if "FLASHU_HOST=0.0.0.0" in value]
    assert Settings.model_fields["host"].default == "127.0.0.1"
    assert ("EXPOSE", str(Settings.model_fields["port"].default)) in final_stage(root)


def test_the_health_check_waits_as_long_as_loading_may_take(root: Path) -> None:
    (check,) = (value for name, value in final_stage(root) if name == "HEALTHCHECK")
    minutes = int(re.findall(r"--start-period=(\d+)m", check)[0])
    assert minutes * 60 >= Settings.model_fields["load_timeout_s"].default


def test_every_variable_is_a_setting(root: Path) -> None:
    files = [root / "Dockerfile", root / "docker-compose.yml", *(root / "docker").iterdir()]
    named = {
        (path.name, name)
        for path in files
        if path.is_file()
        for name in re.findall(r"\bFLASHU_[A-Z_]+\b", path.read_text())
    }
    assert len(named) > 10
    unknown = {(file, name) for file, name in named if name.removeprefix(PREFIX).lower() not in Settings.model_fields}
    assert unknown == set()


# What goes to the builder


def is_sent(path: str, rules: list[str]) -> bool:
    """Whether .dockerignore lets a file through, by the rules as Docker tells them: a pattern means the path or any
    folder above it, `*` stops at a slash, `**/` is any folders or none, the last pattern that matches decides."""
    parts = path.split("/")
    ways = ["/".join(parts[:count]) for count in range(1, len(parts) + 1)]
    sent = True
    for rule in rules:
        pattern = rule.removeprefix("!")
        deep = pattern.startswith("**/")
        pattern = pattern.removeprefix("**/")
        if any(
            fnmatch.fnmatchcase(way.rsplit("/", 1)[-1] if deep else way, pattern)
            and (deep or way.count("/") == pattern.count("/"))
            for way in ways
        ):
            sent = rule.startswith("!")
    return sent


def ignoring(root: Path) -> list[str]:
    lines = (root / ".dockerignore").read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


@pytest.mark.parametrize(
    "path",
    [
        ".git/config",
        ".venv/bin/python",
        ".env",
        "server/.env",
        "secrets/flashu_api_keys",
        "tests/data/golden/showo2_tiny/model.safetensors",
        "benchmarks/results/schedule-sim.png",
        "runs/a.json",
        "server/__pycache__/app.cpython-311.pyc",
        "docker-compose.yml",
        "docker/build.sh",
    ],
)
def test_nothing_private_or_needless_goes_to_the_builder(root: Path, path: str) -> None:
    assert not is_sent(path, ignoring(root))


def test_the_package_and_its_model_go_to_the_builder(root: Path) -> None:
    rules = ignoring(root)
    packages = [path for name in ("flashu_core", "server", "shapes") for path in (root / name).rglob("*")]
    files = [
        path.relative_to(root).as_posix() for path in packages if path.is_file() and "__pycache__" not in path.parts
    ]
    assert "flashu_core/assets/shapes-64/model.safetensors" in files
    assert [file for file in files if not is_sent(file, rules)] == []
    sources = [value.split()[:-1] for name, value in instructions(root) if name == "COPY" and "--from" not in value]
    named = [source for line in sources for source in line]
    assert [source for source in named if not is_sent(source, rules)] == []
    assert [source for source in named if not (root / source).exists()] == []


# Compose


@pytest.fixture(scope="session", params=PROFILES)
def composed(request: pytest.FixtureRequest, tool: Callable[[str], str], root: Path) -> tuple[str, dict[str, Any]]:
    """A profile, and what Compose makes of the file for it."""
    command = [tool("docker-compose"), "-f", "docker-compose.yml", "--profile", request.param]
    quiet = run([*command, "config", "--quiet"], cwd=root, env=bare())
    assert (quiet.returncode, quiet.stdout + quiet.stderr) == (0, "")
    shown = run([*command, "config", "--format", "json"], cwd=root, env=bare())
    return request.param, json.loads(shown.stdout)


def test_a_profile_starts_its_server_and_the_monitoring(composed: tuple[str, dict[str, Any]]) -> None:
    profile, config = composed
    assert set(config["services"]) == {SERVERS[profile], "prometheus", "alertmanager", "grafana"}


def test_without_a_profile_nothing_starts(tool: Callable[[str], str], root: Path) -> None:
    shown = run([tool("docker-compose"), "config", "--services"], cwd=root, env=bare())
    assert shown.stdout.split() == []


def test_every_service_is_confined_and_pinned(composed: tuple[str, dict[str, Any]]) -> None:
    _, config = composed
    for name, service in config["services"].items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert re.search(r":v?\d+\.\d+\.\d+(-cpu)?$", service["image"]), name
        if "BASE" in service.get("build", {}).get("args", {}):
            assert re.search(r":\d+\.\d+\.\d+-", service["build"]["args"]["BASE"]), name
        assert [port["host_ip"] for port in service["ports"]] == ["127.0.0.1"], name
        assert "privileged" not in service, name
        binds = [mount for mount in service["volumes"] if mount["type"] == "bind"]
        assert all(mount["read_only"] for mount in binds), name


def test_only_the_gpu_s_server_reserves_one(composed: tuple[str, dict[str, Any]]) -> None:
    profile, config = composed
    server = config["services"][SERVERS[profile]]
    devices = server.get("deploy", {}).get("resources", {}).get("reservations", {}).get("devices", [])
    expected = [{"driver": "nvidia", "count": 1, "capabilities": ["gpu"]}] if profile == "gpu" else []
    assert devices == expected
    given = server["build"]["args"]
    assert (given["TORCH_INDEX"] == "https://download.pytorch.org/whl/cpu") is (profile == "cpu")
    assert ("BASE" in given) is (profile == "cpu")


def test_the_server_gets_valid_settings_and_the_time_to_end(composed: tuple[str, dict[str, Any]]) -> None:
    profile, config = composed
    server = config["services"][SERVERS[profile]]
    names = [name for name in server["environment"] if name.startswith(PREFIX)]
    given = {name.removeprefix(PREFIX).lower(): server["environment"][name] for name in names}
    settings = Settings(**{name: value for name, value in given.items() if value})
    assert server["stop_grace_period"] == "45s"
    assert settings.shutdown_timeout_s + 10 <= 45
    assert server["init"] is True
    assert {mount["target"] for mount in server["volumes"]} == {"/cache", "/models"}
    assert [entry.split(":")[0] for entry in server["tmpfs"]] == ["/tmp"]


def test_what_is_mounted_exists(composed: tuple[str, dict[str, Any]], root: Path) -> None:
    _, config = composed
    sources = [
        Path(mount["source"])
        for service in config["services"].values()
        for mount in service["volumes"]
        if mount["type"] == "bind"
    ]
    assert len(sources) == 7
    assert [source for source in sources if not source.exists()] == []


@pytest.mark.parametrize("profile", PROFILES)
def test_secrets_are_files(tool: Callable[[str], str], root: Path, tmp_path: Path, profile: str) -> None:
    command = [tool("docker-compose"), "-f", "docker-compose.yml", "-f", "docker/compose.secrets.yml"]
    shown = run(
        [*command, "--profile", profile, "config", "--format", "json"],
        cwd=root,
        env=bare(SECRETS_FOLDER=str(tmp_path)),
    )
    config = json.loads(shown.stdout)
    assert {secret["file"] for secret in config["secrets"].values()} == {
        str(tmp_path / "flashu_api_keys"),
        str(tmp_path / "grafana_admin_password"),
    }
    given = {
        name: [secret["target"] for secret in each.get("secrets", [])] for name, each in config["services"].items()
    }
    assert given[SERVERS[profile]] == ["/run/secrets/flashu_api_keys"]
    assert given["grafana"] == ["/run/secrets/grafana_admin_password"]
    assert given["prometheus"] == given["alertmanager"] == []
