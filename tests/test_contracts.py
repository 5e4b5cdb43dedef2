"""The checks themselves: each contract, the types and the lint rules are seen to fail on a deliberate violation."""

from __future__ import annotations

import graphlib
import shutil
import subprocess
import sys
from pathlib import Path

import grimp
import pytest
from setuptools.config.pyprojecttoml import read_configuration

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    for package in ("flashu_core", "server", "shapes", "benchmarks", "load_tests"):
        ignore = shutil.ignore_patterns("__pycache__", "assets")
        shutil.copytree(ROOT / package, tmp_path / package, ignore=ignore)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    program = [str(BIN / command[0]), *command[1:]]
    # The copy must be what is imported, not the installed project.
    environment = {"PYTHONPATH": str(folder), "PATH": str(BIN)}
    return subprocess.run(program, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)


@pytest.mark.parametrize(
    ("file", "line", "contract"),
    [
        ("flashu_core/acceleration/plan.py", "import flashu_core.engine", "The engine is layered"),
        ("flashu_core/model/attention.py", "import flashu_core.acceleration.plan", "The engine is layered"),
        ("flashu_core/engine/engine.py", "import fastapi", "The engine knows no HTTP and no world"),
        ("flashu_core/cli/main.py", "import shapes.scene", "The engine knows no HTTP and no world"),
        ("server/worker/client.py", "import torch", "The server sees the engine's public names only"),
        ("server/api/native.py", "import flashu_core.types", "The server sees the engine's public names only"),
        ("flashu_core/engine/scheduler.py", "import torch", "Scheduling, plans and policies need no torch"),
        ("load_tests/bench/client.py", "import server.errors", "Load tests know the server from outside"),
        ("load_tests/results.py", "import benchmarks.flops", "Benchmarks stand on load tests"),
        ("load_tests/bench/client.py", "import load_tests.results", "The bench stands alone"),
        ("shapes/render.py", "import load_tests.results", "Nothing that is served knows what measures it"),
    ],
)
def test_import_contracts_break(copy: Path, file: str, line: str, contract: str) -> None:
    path = copy / file
    path.write_text(path.read_text() + f"\n{line}\n")
    found = run(copy, "lint-imports", "--no-cache")
    assert found.returncode == 1
    assert f"{contract} BROKEN" in found.stdout


def test_types_break(tmp_path: Path) -> None:
    (tmp_path / "wrong.py").write_text("def size(text: str) -> int:\n    return text\n")
    found = run(tmp_path, "mypy", "--config-file", str(ROOT / "pyproject.toml"), "--cache-dir", "cache", "wrong.py")
    assert found.returncode == 1
    assert "Incompatible return value" in found.stdout


@pytest.mark.parametrize(
    ("text", "rule"), [("import os\n", "F401"), ("try:\n    x = 1\nexcept Exception:\n    pass\n", "BLE001")]
)
def test_lint_breaks(tmp_path: Path, text: str, rule: str) -> None:
    (tmp_path / "wrong.py").write_text(text)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    found = run(tmp_path, "ruff", "check", "--no-cache", "--output-format", "concise", "wrong.py")
    assert found.returncode == 1
    assert rule in found.stdout


def test_format_breaks(tmp_path: Path) -> None:
    (tmp_path / "wrong.py").write_text("x  =  {'a':1}\n")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    assert run(tmp_path, "ruff", "format", "--no-cache", "--check", "wrong.py").returncode == 1


@pytest.mark.parametrize("module", ["flashu_core.cli.main", "server.__main__", "server.worker.process"])
def test_torch_is_loaded_by_an_engine_alone(module: str) -> None:
    """What is imported on the way to a name is more than the contracts see."""
    program = f"import sys, {module}; print('torch' in sys.modules, '{module}' in sys.modules)"
    environment = {"PYTHONPATH": str(ROOT), "PATH": str(BIN)}
    found = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=300, check=True
    )
    assert found.stdout == "False True\n"


def test_the_wheel_holds_the_bench_but_not_the_acceptance_suite() -> None:
    packages = set(read_configuration(ROOT / "pyproject.toml")["tool"]["setuptools"]["packages"])
    assert {"flashu_core.engine", "server.api", "shapes.training", "load_tests.bench"} <= packages
    # Without the package itself its modules beside `bench` are left behind: mixed, promises, acceptance.
    assert {name for name in packages if name.startswith("load_tests")} == {"load_tests.bench"}
    assert not {name for name in packages if name.split(".")[0] in ("benchmarks", "deploy", "docker", "tests")}


def test_no_module_is_in_a_cycle() -> None:
    """Imports for type checkers and those inside functions count."""
    graph = grimp.build_graph("flashu_core", "server", "shapes", "load_tests", "benchmarks", cache_dir=None)
    imported = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    graphlib.TopologicalSorter(imported).prepare()
    with pytest.raises(graphlib.CycleError):
        graphlib.TopologicalSorter({"a": {"b"}, "b": {"a"}}).prepare()
