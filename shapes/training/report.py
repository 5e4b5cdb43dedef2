"""What a training run shows while it goes on: loss curves and sheets of pictures, written as PNG. Trains nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

Pixels = np.ndarray[tuple[int, ...], np.dtype[np.uint8]]


class History:
    """Losses by step, appended to a JSON-lines file so that a resumed run keeps its curve."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Appends one row."""
        with self.path.open("a") as file:
            file.write(json.dumps({"step": step, **values}) + "\n")

    def draw(self, picture: Path) -> None:
        """Draws every recorded value over the steps, logarithmically."""
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot

        rows = [json.loads(line) for line in self.path.read_text().splitlines()]
        if not rows:
            return
        figure, axes = pyplot.subplots(figsize=(7, 4))
        for name in rows[-1]:
            if name != "step":
                points = [(row["step"], row[name]) for row in rows if row.get(name, 0) > 0]
                axes.plot([x for x, _ in points], [y for _, y in points], label=name)
        axes.set_yscale("log")
        axes.set_xlabel("step")
        axes.legend()
        axes.grid(alpha=0.3)
        figure.savefig(picture, dpi=110, bbox_inches="tight")
        pyplot.close(figure)


def sheet(pictures: Sequence[Pixels], labels: Sequence[str], path: Path, *, columns: int = 6, zoom: int = 2) -> None:
    """Writes pictures (H, W, 3) in rows of `columns`, each with its label below."""
    height, width = pictures[0].shape[0] * zoom, pictures[0].shape[1] * zoom
    line = 12
    wrap = max(width // 6, 1)
    lines = max(1, max(-(-len(label) // wrap) for label in labels)) if labels else 0
    cell = height + line * lines + 4
    rows = -(-len(pictures) // columns)
    canvas = Image.new("RGB", (columns * (width + 4), rows * cell), "white")
    draw = ImageDraw.Draw(canvas)
    for index, picture in enumerate(pictures):
        left, top = (index % columns) * (width + 4), (index // columns) * cell
        canvas.paste(Image.fromarray(picture).resize((width, height), Image.Resampling.NEAREST), (left, top))
        label = labels[index] if labels else ""
        for row in range(0, len(label), wrap):
            draw.text((left, top + height + line * (row // wrap)), label[row : row + wrap], fill="black")
    path.parent.mkdir(parents=True, exist_ok=True)
    canvas.save(path)
