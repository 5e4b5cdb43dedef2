"""Predicts what a model needs of an accelerator: `python -m benchmarks.capacity [--check]` fills the tables of
docs/capacity.md.

It takes the counted FLOPs of `results/cost-*.json`, counts bytes from the configurations, and divides by what data
sheets promise and the shares of it that are assumed below. Nothing in it was measured on an accelerator; what was is in
`results/gpu-*.json`, where there are any.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.tables import fill_blocks, fill_document, markdown
from flashu_core.config import MODELS, ModelConfig
from load_tests.results import RESULTS

DOCUMENT = Path(__file__).parents[1] / "docs" / "capacity.md"
SIZES = ("1.5b", "7b")
POLICIES = ("exact", "flashu")
MATRIX_SHARE = 0.5  # of the bf16 matrix rate that large products reach in a whole denoising step
COPY_SHARE = 0.75  # of the memory's rate at which weights are read while a token is decoded
ANSWER_TOKENS = 32
PROMPT_TOKENS = 64
ELEMENT = 2  # bytes, bfloat16


@dataclass(frozen=True, slots=True)
class Accelerator:
    """What a data sheet says: dense bf16 FLOP/s, bytes/s and bytes of memory."""

    name: str
    rate: float
    bandwidth: float
    memory: float


ACCELERATORS = (
    Accelerator("A100 40 GB", 312e12, 1.555e12, 40e9),
    Accelerator("A100 80 GB", 312e12, 2.039e12, 80e9),
    Accelerator("H100 SXM", 989e12, 3.35e12, 80e9),
    Accelerator("H200", 989e12, 4.8e12, 141e9),
)


def picture_seconds(cost: Mapping[str, Any], accelerator: Accelerator) -> float:
    """One picture alone, the autoencoder included."""
    return float(cost["generation"]["total_with_vae"]) / (accelerator.rate * MATRIX_SHARE)


def answer_seconds(cost: Mapping[str, Any], accelerator: Accelerator) -> float:
    """One answer of `ANSWER_TOKENS` tokens alone: a prefill bound by arithmetic, tokens bound by reading weights."""
    parts = cost["answer"]
    prefill = (parts["vae_encode"] + parts["features"] + parts["prefill"]) / (accelerator.rate * MATRIX_SHARE)
    token = cost["parameters"]["backbone"] * ELEMENT / (accelerator.bandwidth * COPY_SHARE)
    return float(prefill + (ANSWER_TOKENS - 1) * token)


def weight_bytes(cost: Mapping[str, Any]) -> int:
    """All weights once; pruned paths are views of them."""
    return int(cost["parameters"]["total"]) * ELEMENT


def picture_bytes(config: ModelConfig) -> int:
    """What one picture holds while it is drawn, as the engine counts it: both branches' caches and head states."""
    backbone, head = config.backbone, config.head
    position = 2 * ELEMENT * backbone.layers * backbone.key_value_heads * (backbone.hidden_size // backbone.heads)
    position += 2 * ELEMENT * head.blocks * head.key_value_heads * (head.hidden_size // head.heads)
    rows, columns = config.grids[0]
    block = rows * columns + config.block_extra
    return 2 * ((PROMPT_TOKENS + block) * position + block * head.hidden_size * ELEMENT)


def seconds_table(costs: Mapping[tuple[str, str], Mapping[str, Any]]) -> str:
    """Predicted seconds alone, and pictures an hour at full load."""
    rows = []
    for (size, policy), cost in costs.items():
        for accelerator in ACCELERATORS:
            picture = picture_seconds(cost, accelerator)
            rows.append(
                [
                    size,
                    f"`{policy}`",
                    accelerator.name,
                    f"{cost['generation']['total_with_vae'] / 1e12:.0f}",
                    f"{picture:.2f}",
                    f"{3600 / picture:.0f}",
                    f"{answer_seconds(cost, accelerator):.2f}",
                ]
            )
    header = ["size", "policy", "accelerator", "TFLOP a picture", "s a picture", "pictures an hour"]
    return markdown([*header, f"s an answer of {ANSWER_TOKENS} tokens"], rows)


def memory_table(costs: Mapping[tuple[str, str], Mapping[str, Any]]) -> str:
    """Bytes of the weights, of one begun picture, and how many of those fit beside the weights."""
    rows = []
    for size in SIZES:
        weights, picture = weight_bytes(costs[size, "exact"]), picture_bytes(MODELS[size])
        fits = [f"{int((one.memory * 0.85 - weights) // picture)}" for one in ACCELERATORS]
        rows.append([size, f"{weights / 1e9:.1f}", f"{picture / 1e6:.0f}", *fits])
    return markdown(["size", "weights, GB", "a begun picture, MB", *(one.name for one in ACCELERATORS)], rows)


TABLES = {"seconds": seconds_table, "memory": memory_table}


def fill(text: str, results: Path = RESULTS) -> str:
    """The document with its tables made anew.

    Raises:
        OSError: a cost has not been counted.
        ValueError: there is no table of that name.
    """
    costs = {
        (size, policy): json.loads((results / f"cost-{policy}-{size}.json").read_text())
        for size in SIZES
        for policy in POLICIES
    }
    return fill_blocks(text, {name: partial(table, costs) for name, table in TABLES.items()})


def main(arguments: Sequence[str] | None = None) -> int:
    """Fills the document, or checks it."""
    return fill_document(DOCUMENT, fill, arguments, description=__doc__)


if __name__ == "__main__":
    raise SystemExit(main())
