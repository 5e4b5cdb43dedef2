"""Writes the table of docs/performance.md from results of `benchmarks/gpu.py`: `python -m benchmarks.gpu_table
[--check]`."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.flops import parameters
from benchmarks.tables import fill_blocks, fill_document, markdown
from flashu_core.config import MODELS
from load_tests.results import RESULTS

DOCUMENT = Path(__file__).parents[1] / "docs" / "performance.md"
Record = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Row:
    """A figure: its policy, its target, how it follows from a result, and its unit."""

    name: str
    policy: str
    wanted: float
    value: Callable[[Record], float]
    unit: str
    maximum: bool = False  # whether `wanted` is a maximum instead of a minimum

    def cells(self, record: Record) -> list[str]:
        """The cells of the table's row."""
        found = self.value(record)
        reached = found <= self.wanted if self.maximum else found >= self.wanted
        sign = "at most" if self.maximum else "at least"
        return [
            self.name,
            f"`{self.policy}`",
            f"{sign} {self.wanted:g}",
            f"{found:.3g} {self.unit}".strip(),
            "yes" if reached else "no",
        ]


def decoding_share(record: Record) -> float:
    """Time to read the backbone's weights at the rate of a copy, as a share of a token's time."""
    weights = 2 * parameters(MODELS[record["size"]])["backbone"]
    milliseconds = weights / (record["rates"]["copy_gigabytes_per_s"] * 1e6)
    return float(milliseconds / record["answer"]["token_ms"])


ROWS = (
    Row(
        "a picture, 50 points, against the reference loop", "exact", 2.2, lambda r: r["generation"]["speedup"], "times"
    ),
    Row("a picture, 35 points, against the reference loop", "flashu", 6, lambda r: r["generation"]["speedup"], "times"),
    Row("the same, without the autoencoder", "flashu", 0.30, lambda r: r["generation"]["total_ms"] / 1000, "s", True),
    Row("rate of a full denoising step, of a matrix product's", "exact", 0.55, lambda r: r["share_of_matrix_rate"], ""),
    Row(
        "a denoising step that reuses the head",
        "flashu",
        0.1,
        lambda r: r["generation"]["reusing_evaluation_ms"],
        "ms",
        True,
    ),
    Row(
        "pixels of latents, against the 3-D form",
        "exact",
        3,
        lambda r: r["generation"]["vae_decode_3d_ms"] / r["generation"]["vae_decode_ms"],
        "times",
    ),
    Row("decoding, of what reading the weights at a copy's rate would give", "exact", 0.75, decoding_share, ""),
    Row(
        "an answer's first token, its picture encoded", "exact", 20, lambda r: r["answer"]["first_token_ms"], "ms", True
    ),
    Row(
        "an answer's first token, its picture encoded",
        "flashu",
        14,
        lambda r: r["answer"]["first_token_ms"],
        "ms",
        True,
    ),
    Row(
        "tokens a second of 16 answers, against one",
        "exact",
        10,
        lambda r: r["answer"]["tokens_per_second_gain"],
        "times",
    ),
)


def fill(text: str, results: Path = RESULTS) -> str:
    """The text with its table regenerated.

    Raises:
        OSError: a result is missing.
    """

    def table() -> str:
        records = {
            policy: json.loads((results / f"gpu-1.5b-{policy}.json").read_text()) for policy in ("exact", "flashu")
        }
        machine = records["exact"]["machine"]
        where = f"{machine['gpu']}, torch {machine['torch']}, {machine['date']}, commit {machine['commit']}"
        header = ["", "policy", "target", "measured", "reached"]
        return f"\n{where}\n\n{markdown(header, [row.cells(records[row.policy]) for row in ROWS])}\n"

    return fill_blocks(text, {"gpu": table})


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes the document's table, or checks it."""
    return fill_document(DOCUMENT, fill, arguments, description=__doc__)


if __name__ == "__main__":
    raise SystemExit(main())
