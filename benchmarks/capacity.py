"""Predicts time and memory on accelerators and writes the tables of docs/capacity.md:
`python -m benchmarks.capacity [--check]`.

Divides the FLOPs of `results/cost-*.json`, and bytes from the configurations, by the rates of data sheets times the
shares assumed below. Measured figures are in `results/gpu-*.json`.
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
    """Data sheet figures: dense bf16 FLOP/s, bytes/s and bytes of memory."""

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
    """Seconds of one image alone, the autoencoder included."""
    return float(cost["generation"]["total_with_vae"]) / (accelerator.rate * MATRIX_SHARE)


def answer_seconds(cost: Mapping[str, Any], accelerator: Accelerator) -> float:
    """Seconds of one answer of `ANSWER_TOKENS` tokens alone: compute-bound prefill, memory-bound tokens."""
    parts = cost["answer"]
    prefill = (parts["vae_encode"] + parts["features"] + parts["prefill"]) / (accelerator.rate * MATRIX_SHARE)
    token = cost["parameters"]["backbone"] * ELEMENT / (accelerator.bandwidth * COPY_SHARE)
    return float(prefill + (ANSWER_TOKENS - 1) * token)


def weight_bytes(cost: Mapping[str, Any]) -> int:
    """Bytes of the weights; pruned paths are views of them."""
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
    """Predicted seconds alone, and images per hour at full load."""
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
    header = ["size", "policy", "accelerator", "TFLOP per image", "s per image", "images per hour"]
    return markdown([*header, f"s per answer of {ANSWER_TOKENS} tokens"], rows)


def memory_table(costs: Mapping[tuple[str, str], Mapping[str, Any]]) -> str:
    """Bytes of the weights and of one running image, and how many images fit beside the weights."""
    rows = []
    for size in SIZES:
        weights, picture = weight_bytes(costs[size, "exact"]), picture_bytes(MODELS[size])
        fits = [f"{int((one.memory * 0.85 - weights) // picture)}" for one in ACCELERATORS]
        rows.append([size, f"{weights / 1e9:.1f}", f"{picture / 1e6:.0f}", *fits])
    return markdown(["size", "weights, GB", "running image, MB", *(one.name for one in ACCELERATORS)], rows)


TABLES = {"seconds": seconds_table, "memory": memory_table}


def fill(text: str, results: Path = RESULTS) -> str:
    """The document with its tables regenerated.

    Raises:
        OSError: a result is missing.
        ValueError: a table has an unknown name.
    """
    costs = {
        (size, policy): json.loads((results / f"cost-{policy}-{size}.json").read_text())
        for size in SIZES
        for policy in POLICIES
    }
    return fill_blocks(text, {name: partial(table, costs) for name, table in TABLES.items()})


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes the document's tables, or checks them."""
    return fill_document(DOCUMENT, fill, arguments, description=__doc__)


if __name__ == "__main__":
    raise SystemExit(main())
