"""Plots the results of an analysis, each figure as one PNG, with matplotlib, which is imported on first use."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from flashu_core.acceleration.calibration import TASKS
from flashu_core.analysis.components import ComponentTimes
from flashu_core.analysis.similarity import Similarity
from flashu_core.analysis.specialisation import Specialisation
from flashu_core.analysis.tokens import TokenLayer
from flashu_core.errors import ConfigurationError
from flashu_core.types import Task

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NAMES: dict[Task, str] = {"generate": "generation", "vqa": "understanding"}


def new_figure(width: float, height: float) -> Figure:
    """An empty figure, sizes in inches, without pyplot's global state.

    Raises:
        ConfigurationError: matplotlib is not installed.
    """
    try:
        from matplotlib import figure
    except ImportError as error:
        raise ConfigurationError(
            "figures need the package matplotlib, which is not installed; run pip install 'flashu-server[bench]'"
        ) from error
    return figure.Figure(figsize=(width, height), dpi=110, layout="constrained")


def plot_specialisation(found: Specialisation, path: Path) -> None:
    """Plots errors over layers, one panel per task's data, with solid lines for its own neurons and dashed ones for the
    other task's; then the share of neurons that both keep. Each colour is a pruning ratio."""
    figure = new_figure(13, 4)
    panels: Sequence[Axes] = figure.subplots(1, 3)
    for data, axes in zip(TASKS, panels, strict=False):
        for task in TASKS:
            for index, ratio in enumerate(found.ratios):
                errors = found.errors[data][task][index]
                axes.plot(
                    range(1, len(errors) + 1),
                    errors,
                    color=f"C{index}",
                    linestyle="-" if task == data else "--",
                    label=f"{ratio:.0%} pruned" if task == data else None,
                )
        axes.set(
            title=f"{NAMES[data]} data; dashed: the other's neurons", ylabel="relative L2 error of the FFN's output"
        )
        axes.set_ylim(bottom=0)
    for index, (stay, shares) in enumerate(zip(found.kept, found.overlap, strict=True)):
        panels[2].plot(range(1, len(shares) + 1), shares, color=f"C{index}")
        panels[2].axhline(stay / found.neurons, color=f"C{index}", linestyle=":", linewidth=0.8)
    panels[2].set(title="kept for both tasks; dotted: by chance", ylabel="share of the kept neurons")
    for axes in panels:
        axes.set_xlabel("layer")
        axes.locator_params(axis="x", integer=True)
        axes.grid(alpha=0.3)
    panels[0].legend(fontsize="small")
    figure.savefig(path)


def plot_similarity(found: Similarity, path: Path) -> None:
    """Plots a heat map of layers (y) over denoising steps or tokens (x)."""
    layers, steps = len(found.cosine), len(found.cosine[0])
    figure = new_figure(8, 4.5)
    axes = figure.subplots()
    extent = (0.5, steps + 0.5, 0.5, layers + 0.5)
    shown = axes.imshow(found.cosine, origin="lower", aspect="auto", extent=extent, interpolation="nearest")
    figure.colorbar(shown, ax=axes, label="cosine of a layer's input and output")
    axes.locator_params(integer=True)
    axes.set(
        title=f"{NAMES[found.task]}, requests: {found.requests[0]}",
        xlabel="denoising step" if found.task == "generate" else "token",
        ylabel="layer",
    )
    figure.savefig(path)


def plot_tokens(found: Sequence[TokenLayer], path: Path) -> None:
    """Plots a scatter for each layer, with one dot for each image token of each picture."""
    figure = new_figure(3.6 * len(found), 3.6)
    for layer, axes in zip(found, figure.subplots(1, len(found), squeeze=False)[0], strict=True):
        for norms, attention in zip(layer.norms, layer.attention, strict=True):
            axes.scatter(norms, attention, s=12, alpha=0.5, linewidths=0)
        correlation = "none" if layer.correlation is None else f"{layer.correlation:.2f}"
        axes.set(title=f"layer {layer.layer}, rank correlation {correlation}", xlabel="L2 norm of the value vector")
        axes.set_ylabel("attention received")
        axes.grid(alpha=0.3)
    figure.savefig(path)


def plot_components(found: Sequence[ComponentTimes], path: Path) -> None:
    """Plots one panel for each task, with one bar for each policy, stacked from its components."""
    tasks = list(dict.fromkeys(times.task for times in found))
    figure = new_figure(11, 1.2 + 1.6 * len(tasks))
    for task, axes in zip(tasks, figure.subplots(len(tasks), 1, squeeze=False)[:, 0], strict=True):
        bars = [times for times in found if times.task == task]
        labels = [_bar_label(times) for times in bars]
        left = [0.0] * len(bars)
        for index, name in enumerate(dict.fromkeys(name for times in bars for name in times.milliseconds)):
            widths = [times.milliseconds.get(name, 0.0) for times in bars]
            axes.barh(labels, widths, left=left, color=f"C{index}", label=name)
            left = [start + width for start, width in zip(left, widths, strict=True)]
        axes.invert_yaxis()
        axes.set(title=NAMES[task], xlabel="milliseconds of a request, mean")
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize="small")
    figure.savefig(path)


def _bar_label(times: ComponentTimes) -> str:
    label = f"{times.policy}\n{times.total:.0f} ms"
    return label if times.tokens is None else f"{label}, {times.tokens:.1f} tokens"
