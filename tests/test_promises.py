"""The tables of promises and of first contact name tests that there are."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
TABLE = TESTS.parent / "docs" / "promises.md"
FIRST_CONTACT = TESTS.parent / "docs" / "first-contact.md"
NAMED = re.compile(r"`([\w/]+\.py)::(\w+)`")


def rows() -> list[list[str]]:
    promised, _, _ = TABLE.read_text().partition("## Figures")
    lines = [line for line in promised.splitlines() if line.startswith("|")][2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def defined(file: str) -> set[str]:
    """The tests of a file."""
    tree = ast.parse((TESTS / file).read_text())
    return {node.name for node in tree.body if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))}


def test_every_row_is_whole_and_there_once() -> None:
    assert all(len(row) == 4 and row[0] and row[1] for row in rows())
    names = [row[0] for row in rows()]
    assert len(names) == len(set(names)) > 20


@pytest.mark.parametrize("row", rows(), ids=lambda row: row[0])
def test_every_promise_has_tests_that_exist(row: list[str]) -> None:
    named = NAMED.findall(row[2])
    assert named
    assert row[2].count("::") == len(named), "a test is written in another way"
    for file, test in named:
        assert test in defined(file), f"{file} has no {test}"


def test_what_was_found_at_first_contact_has_tests_that_exist() -> None:
    lines = [line for line in FIRST_CONTACT.read_text().splitlines() if line.startswith("|")]
    found = [line.strip("|").split("|") for line in lines if not line.startswith(("| seen ", "| --- "))]
    assert all(len(row) == 5 and row[0].strip() for row in found)
    for seen, *_, named in found:
        file = None
        for name in re.findall(r"`([^`]+)`", named):
            path, _, test = name.partition("::")
            if path and not path.endswith(".py"):
                continue  # a command
            file = path or file  # `::name` is of the file before it
            assert file is not None and (TESTS / file).exists(), (seen, name)
            assert not test or test in defined(file), (seen, name)
        assert named.strip(), seen
