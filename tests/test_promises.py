"""The table of promises names tests that there are."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
TABLE = TESTS.parent / "docs" / "promises.md"
NAMED = re.compile(r"`([\w/]+\.py)::(\w+)`")


def rows() -> list[list[str]]:
    promised, _, _ = TABLE.read_text().partition("## Figures")
    lines = [line for line in promised.splitlines() if line.startswith("|")][2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


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
        tree = ast.parse((TESTS / file).read_text())
        defined = {node.name for node in tree.body if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))}
        assert test in defined, f"{file} has no {test}"
