"""README's tables of grades, made of the results that `flashu eval` wrote: `python -m benchmarks.tables [--check]`.

A table stands between `<!-- table NAME -->` and `<!-- end -->` and is replaced whole. It measures nothing.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.machine import RESULTS

README = Path(__file__).parents[1] / "README.md"
MODEL = "shapes-64"
_BLOCK = re.compile(r"(<!-- table (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
Record = Mapping[str, Any]


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def grades(record: Record) -> str:
    """A row for each policy: overall, the six categories, answers."""
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
    """A row for each variant: overall and answers, arithmetic and time of one picture and one answer alone."""
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
    """The text with every table made anew.

    Raises:
        ValueError: a table is of a name that is not known.
        OSError: its result is not there.
    """

    def table(found: re.Match[str]) -> str:
        if found[2] not in TABLES:
            raise ValueError(f"there is no table {found[2]!r}; use one of: {', '.join(TABLES)}")
        name, make = TABLES[found[2]]
        record = json.loads((results / f"{name}.json").read_text())
        return found[1] + make(record["policies"]) + found[3]

    return _BLOCK.sub(table, text)


def main(arguments: Sequence[str] | None = None) -> int:
    """Fills README; with `--check` only tells whether it is as the results say, 1 where not."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tables", description=__doc__)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args(arguments)
    before = README.read_text()
    after = fill(before)
    if options.check:
        print("README is as the results say" if before == after else "README differs from the results")
        return int(before != after)
    README.write_text(after)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
