"""Writes the measured figures of docs/promises.md, from results of `load_tests.promises` and `load_tests.mixed`:
`python -m benchmarks.figures [--check]`."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from benchmarks.tables import fill_blocks, fill_document, markdown
from load_tests.acceptance.report import HEADER, row
from load_tests.acceptance.target import Target
from load_tests.results import RESULTS

DOCUMENT = Path(__file__).parents[1] / "docs" / "promises.md"
FIGURES = {"harm": "promises", "soak": "soak", "load": "load-mixed"}
# Phrases of committed results, and what targets are called since. A new measurement needs none of them.
RENAMED = Path(__file__).with_name("renamed.json")


def fill(text: str, results: Path = RESULTS) -> str:
    """The text with every table regenerated.

    Raises:
        ValueError: a table has an unknown name.
        OSError: its result is missing.
    """

    renamed: Mapping[str, str] = json.loads(RENAMED.read_text())

    def table(result: str) -> str:
        found = json.loads((results / f"{result}.json").read_text())
        machine = found["machine"]
        where = f"{machine['date']}, commit {machine['commit']}, {machine['cores']} cores, {machine['processor']}"
        rows = [row(_renamed(Target.from_json(promise), renamed)) for promise in found["promises"]]
        return f"\n{where}\n\n{markdown(HEADER, rows)}\n"

    tables: Mapping[str, Callable[[], str]] = {name: partial(table, result) for name, result in FIGURES.items()}
    return fill_blocks(text, tables)


def _renamed(target: Target, renamed: Mapping[str, str]) -> Target:
    name, note = target.name, target.note
    for old, new in renamed.items():
        name, note = name.replace(old, new), note.replace(old, new)
    return replace(target, name=name, note=note)


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes the document's tables, or checks them."""
    return fill_document(DOCUMENT, fill, arguments, description=__doc__)


if __name__ == "__main__":
    raise SystemExit(main())
