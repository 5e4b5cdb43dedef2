"""Commands that cannot run in a test name files, make targets and modules that exist."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.util import find_spec

import pytest

from docs import site

PAGES = tuple(site.pages())
TARGETS = set(re.findall(r"^([a-z0-9-]+):", (site.ROOT / "Makefile").read_text(), re.MULTILINE))
FOLDERS = "benchmarks|deploy|docker|docs|load_tests|tests"


def commands(page: str) -> Iterator[str]:
    """Lines of shell blocks, and what stands in backticks in the text."""
    text = (site.ROOT / page).read_text()
    for block in re.findall(r"```(?:sh|console)\n(.*?)```", text, re.DOTALL):
        yield from block.splitlines()
    yield from re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))


@pytest.mark.parametrize("page", PAGES)
def test_make_targets_exist(page: str) -> None:
    for command in commands(page):
        for target in re.findall(r"^make ([a-z0-9-]+)", command):
            assert target in TARGETS, command


@pytest.mark.parametrize("page", PAGES)
def test_modules_that_are_run_exist(page: str) -> None:
    for command in commands(page):
        for module in re.findall(rf"python3? -m ((?:{FOLDERS}|server|shapes)\b[\w.]*)", command):
            assert find_spec(module) is not None, command


@pytest.mark.parametrize("page", ["docker/README.md", "deploy/ray/README.md", "docs/monitoring.md", "docs/releases.md"])
def test_files_that_are_used_exist(page: str) -> None:
    found = [path for command in commands(page) for path in re.findall(rf"(?<![\w/.-])(?:{FOLDERS})/[\w/.-]+", command)]
    assert found
    for path in found:
        assert (site.ROOT / path).exists(), path


def test_what_a_contributor_types_is_a_target() -> None:
    block = re.findall(r"```sh\n(.*?)```", (site.ROOT / "CONTRIBUTING.md").read_text(), re.DOTALL)[0]
    assert [line.split()[:2] for line in block.splitlines()] == [
        ["make", target] for target in ("install", "fix", "check", "test-fast", "test", "docs")
    ]


def test_what_test_fast_runs_exists() -> None:
    makefile = (site.ROOT / "Makefile").read_text()
    fast = re.findall(r"^FAST := ((?:.*\\\n)*.*)$", makefile, re.MULTILINE)[0].replace("\\\n", " ").split()
    assert len(fast) > 10
    for path in [*fast, *re.findall(r"--ignore (\S+)", makefile)]:
        assert (site.ROOT / path).exists(), path
