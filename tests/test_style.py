"""The words of `docs/style.md` are the words of the project."""

from __future__ import annotations

import pytest
import words

RULES = words.rules(words.TABLE.read_text())
FILES = words.files()
PLACES = sorted({path.split("/")[0] for path in FILES})


@pytest.mark.parametrize("place", PLACES)
def test_no_file_uses_a_word_that_is_ruled_out(place: str) -> None:
    paths = [path for path in FILES if path.split("/")[0] == place]
    found = [str(use) for path in paths for use in words.uses(path, (words.ROOT / path).read_text(), RULES)]
    assert not found, "\n".join(found)


def test_the_table_is_read_whole() -> None:
    rows = [line for line in words.TABLE.read_text().splitlines() if line.startswith("|")]
    assert len(RULES) == len(rows) - 2 >= 14
    assert all(rule.say and (rule.names or rule.text) for rule in RULES)


def test_every_package_is_read() -> None:
    assert {"flashu_core", "server", "shapes", "load_tests", "benchmarks", "tests", "docs", "README.md"} <= set(PLACES)


@pytest.mark.parametrize(
    ("path", "source", "word"),
    [
        ("server/a.py", "def draw() -> None: ...\n", "draw"),
        ("server/a.py", "most_steps = 3\n", "most_steps"),
        ("server/a.py", '"""The drawing is done."""\n', "drawing"),
        ("server/a.py", "x = 1  # whoever reads it\n", "whoever"),
        ("server/a.py", 'x = "it leaves what was left out"\n', "left out"),
        ("server/drawings.py", "x = 1\n", "drawings"),
        ("docs/a.md", "# A page\n\nThe client is told.\n", "told"),
    ],
)
def test_a_use_is_found(path: str, source: str, word: str) -> None:
    (use,) = words.uses(path, source, RULES)
    assert use.word == word
    assert str(use).startswith(f"{path}:") and use.say in str(use)


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("server/a.py", 'x = "told"\n'),  # a word by itself may be data
        ("server/a.py", '"""Sends the field `evaluations`."""\n'),
        ("server/a.py", "x = f(\n    evaluation=1,  # a public field\n)\n"),
        ("shapes/a.py", "def draw() -> None: ...\n"),
        ("docs/a.md", 'The command says "drawing".\n\n```\ndrawing\n```\n'),
    ],
)
def test_what_others_wrote_is_not_read(path: str, source: str) -> None:
    assert words.uses(path, source, RULES) == []
