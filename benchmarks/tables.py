"""Writes the tables of grades in docs/results.md from results of `flashu eval`: `python -m benchmarks.tables
[--check]`.

A table is between `<!-- table NAME -->` and `<!-- end -->` and is replaced.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from load_tests.results import RESULTS

DOCUMENT = Path(__file__).parents[1] / "docs" / "results.md"
MODEL = "shapes-64"
_BLOCK = re.compile(r"(<!-- table (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
Record = Mapping[str, Any]


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def grades(record: Record) -> str:
    """A row per policy: overall, the six categories, answers."""
    names = list(next(iter(record.values()))["categories"])
    header = ["policy", "overall", *(name.replace("_", " ") for name in names), "answers"]
    return markdown(
        header,
        [
            [f"`{policy}`", _interval(found["overall"])]
            + [f"{found['categories'][name]['mean']:.2f}" for name in names]
            + [_interval(found["answers"])]
            for policy, found in record.items()
        ],
    )


def study(record: Record) -> str:
    """A row per variant: overall, answers, FLOPs and time of one image and one answer alone."""
    header = ["variant", "overall", "answers", "GFLOP a picture", "picture (ms)", "answer (ms)"]
    return markdown(
        header,
        [
            [
                f"`{name}`" if name in ("exact", "flashu") else name,
                _interval(found["overall"]),
                _interval(found["answers"]),
                f"{found['gigaflops']:.2f}",
                f"{found['alone']['picture_ms']:.0f}",
                f"{found['alone']['answer_ms']:.1f}",
            ]
            for name, found in record.items()
        ],
    )


def _interval(share: Mapping[str, float]) -> str:
    return f"{share['mean']:.3f} ({share['low']:.2f} to {share['high']:.2f})"


TABLES: Mapping[str, tuple[str, Callable[[Record], str]]] = {
    "grades": (f"eval-{MODEL}", grades),
    "ablation": (f"ablation-{MODEL}", study),
    "tradeoff": (f"tradeoff-{MODEL}", study),
    "sensitivity": (f"sensitivity-{MODEL}", study),
}


def fill(text: str, results: Path = RESULTS) -> str:
    """The text with every table regenerated.

    Raises:
        ValueError: a table has an unknown name.
        OSError: its result is missing.
    """

    def table(name: str) -> str:
        result, make = TABLES[name]
        return make(json.loads((results / f"{result}.json").read_text())["policies"])

    return fill_blocks(text, {name: partial(table, name) for name in TABLES})


def fill_blocks(text: str, tables: Mapping[str, Callable[[], str]]) -> str:
    """A document with every table regenerated.

    Raises:
        ValueError: a table has an unknown name.
    """

    def table(found: re.Match[str]) -> str:
        if found[2] not in tables:
            raise ValueError(f"there is no table {found[2]!r}; use one of: {', '.join(tables)}")
        return found[1] + tables[found[2]]() + found[3]

    return _BLOCK.sub(table, text)


def fill_document(
    document: Path, fill: Callable[[str], str], arguments: Sequence[str] | None, *, description: str | None
) -> int:
    """The command that writes a document's tables; with `--check` it only checks them and returns 1 if they are
    stale."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args(arguments)
    before = document.read_text()
    after = fill(before)
    if options.check:
        print(f"{document.stem} {'matches the results' if before == after else 'differs from the results'}")
        return int(before != after)
    document.write_text(after)
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes the tables of DOCUMENT, or checks them."""
    return fill_document(DOCUMENT, fill, arguments, description=__doc__)


if __name__ == "__main__":
    raise SystemExit(main())
