"""The measured figures in docs/promises.md, from the results of `load_tests.promises` and `load_tests.mixed`:
`python -m benchmarks.figures [--check]`. It measures nothing."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from benchmarks.tables import fill_blocks, fill_document, markdown
from load_tests.acceptance.report import HEADER, row
from load_tests.acceptance.target import Target
from load_tests.results import RESULTS

DOCUMENT = Path(__file__).parents[1] / "docs" / "promises.md"
FIGURES = {"harm": "promises", "soak": "soak", "load": "load-mixed"}


def fill(text: str, results: Path = RESULTS) -> str:
    """The text with every table made anew.

    Raises:
        ValueError: a table is of a name that is not known.
        OSError: its result is not there.
    """

    def table(result: str) -> str:
        found = json.loads((results / f"{result}.json").read_text())
        machine = found["machine"]
        where = f"{machine['date']}, commit {machine['commit']}, {machine['cores']} cores, {machine['processor']}"
        rows = [row(Target.from_json(promise)) for promise in found["promises"]]
        return f"\n{where}\n\n{markdown(HEADER, rows)}\n"

    tables: Mapping[str, Callable[[], str]] = {name: partial(table, result) for name, result in FIGURES.items()}
    return fill_blocks(text, tables)


def main(arguments: Sequence[str] | None = None) -> int:
    """Fills the document, or checks it."""
    return fill_document(DOCUMENT, fill, arguments, description=__doc__)


if __name__ == "__main__":
    raise SystemExit(main())
