"""Draws README's contact sheet: 64 prompts of the grading set, one picture each, none of them chosen:
`python -m benchmarks.contact_sheet`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from flashu_core import Engine, EngineConfig, GenerateResult
from flashu_core.threads import configure_threads
from shapes.land.prompts import grading_prompts
from shapes.land.requests import pictures_of
from shapes.running import run_all
from shapes.studies import Variant

SHEET = Path(__file__).parents[1] / "docs" / "images" / "contact-sheet.png"
COUNT, COLUMNS, GAP = 64, 8, 4
SEED = 7  # of the prompts; not that of grades


def joined(images: Sequence[NDArray[np.uint8]]) -> Image.Image:
    """Pictures of one size in rows of eight."""
    height, width = images[0].shape[:2]
    rows = -(-len(images) // COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * (width + GAP) - GAP, rows * (height + GAP) - GAP), "white")
    for index, image in enumerate(images):
        place = (index % COLUMNS * (width + GAP), index // COLUMNS * (height + GAP))
        sheet.paste(Image.fromarray(image), place)
    return sheet


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes the sheet, and the prompts in its order."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.contact_sheet", description=__doc__)
    parser.add_argument("--model", help="a folder or hub id; the embedded model by default")
    parser.add_argument("--policy", default="flashu")
    parser.add_argument("--output", type=Path, default=SHEET)
    options = parser.parse_args(arguments)
    configure_threads()
    engine = Engine.load(options.model, EngineConfig(max_batch=16))
    engine.prepare()
    texts = [prompt.text for prompt in grading_prompts(COUNT, SEED)]
    requests = pictures_of(texts, Variant(name=options.policy, policy=options.policy))
    results = dict(run_all(engine, requests, "pictures"))
    images = [each.images[0] for _, each in sorted(results.items()) if isinstance(each, GenerateResult)]
    joined(images).quantize(256).save(options.output, optimize=True)
    print("\n".join(texts))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
