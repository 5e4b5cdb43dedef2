"""Each tutorial done once as it is written: its files made, its changes applied and its commands run in a copy."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TUTORIALS = sorted((ROOT / "docs" / "tutorials").glob("*.md"))
FOLDERS = ("benchmarks", "decisions", "deploy", "docs", "flashu_core", "load_tests", "server", "shapes", "tests")
FILES = ("pyproject.toml", "README.md", "ARCHITECTURE.md")
BLOCK = re.compile(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```$', re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A fenced block: a new file, a change to a file, commands, or what the commands before it print."""

    language: str
    file: str
    text: str


def blocks(tutorial: Path) -> list[Block]:
    return [Block(*found) for found in BLOCK.findall(tutorial.read_text())]


def apply_change(text: str, change: str) -> str:
    """A file's text after hunks of a diff; what a hunk replaces must be there exactly once."""
    for hunk in change.split("@@\n"):
        lines = hunk.splitlines(keepends=True)
        before = "".join(line[1:] for line in lines if line[0] in " -")
        after = "".join(line[1:] for line in lines if line[0] in " +")
        assert text.count(before) == 1, f"not there exactly once:\n{before}"
        text = text.replace(before, after)
    return text


@dataclass(frozen=True)
class Copy:
    """A copy of the repository, in which commands find its packages first."""

    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        own = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "FLASHU_"))}
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        return {**own, "PATH": path, "PYTHONPATH": str(self.folder), "OMP_NUM_THREADS": "1", "COLUMNS": "120"}

    def run(self, script: str) -> str:
        ended = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert ended.returncode == 0, f"{script}\n{ended.stdout}\n{ended.stderr}"
        return ended.stdout

    def serve(self, command: str) -> tuple[subprocess.Popen[str], int]:
        """Starts a server on a port of the system's choice, and waits until it is ready."""
        server = subprocess.Popen(
            ["bash", "-euc", "exec " + re.sub(r"--port \d+", "--port 0", command)],
            cwd=self.folder,
            env={**self.environment, "PYTHONUNBUFFERED": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert server.stdout is not None
        seen = []
        for line in server.stdout:
            seen.append(line)
            found = re.search(r"ready on http://127\.0\.0\.1:(\d+)", line)
            if found:
                return server, int(found[1])
        raise AssertionError("".join(seen))


@pytest.fixture
def copy(tmp_path: Path) -> Copy:
    for folder in FOLDERS:
        shutil.copytree(
            ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__", "data", "results")
        )
    for file in FILES:
        shutil.copy(ROOT / file, tmp_path)
    return Copy(tmp_path)


@pytest.fixture
def servers() -> Iterator[list[subprocess.Popen[str]]]:
    started: list[subprocess.Popen[str]] = []
    yield started
    for server in started:
        server.terminate()
        assert server.stdout is not None
        server.stdout.read()  # a full pipe would keep it from ending
        server.wait(30)
        server.stdout.close()


@pytest.mark.parametrize("tutorial", TUTORIALS, ids=lambda tutorial: tutorial.stem)
def test_a_tutorial_works_as_written(
    tutorial: Path, copy: Copy, servers: list[subprocess.Popen[str]], program: Callable[[str], str]
) -> None:
    if "curl" in tutorial.read_text():
        program("curl")
    printed, port = "", 8000
    for block in blocks(tutorial):
        if block.language == "diff":
            file = copy.folder / block.file
            file.write_text(apply_change(file.read_text(), block.text))
        elif block.language == "python":
            file = copy.folder / block.file
            assert not file.exists(), f"{block.file} is there already"
            file.write_text(block.text)
        elif block.language == "sh" and "# keeps running" in block.text:
            server, port = copy.serve(block.text.partition("  #")[0])
            servers.append(server)
        elif block.language == "sh":
            printed = copy.run(block.text.replace("127.0.0.1:8000", f"127.0.0.1:{port}"))
        else:
            assert printed.split() == block.text.split()
    # What was written passes the checks of `make check` that take no time.
    written = " ".join(sorted({block.file for block in blocks(tutorial) if block.file}))
    copy.run(f"ruff format --check {written} && ruff check {written} && lint-imports")


def test_a_tutorial_makes_changes_and_runs_commands() -> None:
    assert len(TUTORIALS) == 3
    for tutorial in TUTORIALS:
        kinds = {block.language for block in blocks(tutorial)}
        assert {"python", "diff", "sh"} <= kinds
        assert all(block.file for block in blocks(tutorial) if block.language in ("python", "diff"))


def test_a_change_that_does_not_fit_is_refused() -> None:
    assert apply_change("a\nb\nc\n", " a\n-b\n+d\n") == "a\nd\nc\n"
    with pytest.raises(AssertionError, match="not there exactly once"):
        apply_change("a\nb\nc\n", " a\n-c\n")
    with pytest.raises(AssertionError, match="not there exactly once"):
        apply_change("a\na\n", " a\n+b\n")
