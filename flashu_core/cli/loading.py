"""Loads an engine for a command, and prints what it loaded and what a request took. Torch is imported with the first
engine: the commands that need none start without it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from flashu_core.cli.console import print_table
from flashu_core.config import EngineConfig
from flashu_core.threads import configure_threads

if TYPE_CHECKING:
    from flashu_core.engine.engine import Engine


def load_engine(model: str | None, config: EngineConfig, threads: int | None) -> Engine:
    """The engine of a checkpoint, with the threads to compute with.

    Args:
        model: a folder or hub id; None for the embedded model.
        threads: on the CPU; None chooses by the size of the model.
    """
    chosen = configure_threads(threads)  # before torch is imported
    from flashu_core.engine.engine import Engine

    console = Console(stderr=True)
    begun = time.monotonic()
    with console.status("loading"):
        engine = Engine.load(model, config)
    if engine.info.device == "cpu":
        chosen.fit(engine.info.parameters)
    seconds = time.monotonic() - begun
    info = engine.info
    millions = info.parameters / 1e6
    console.print(f"{info.name}: {millions:.1f} M parameters, {info.dtype} on {info.device}, loaded in {seconds:.1f} s")
    return engine


def load_calibrated_engine(model: str | None, config: EngineConfig, policy: str, threads: int | None) -> Engine:
    """As `load_engine`, calibrated where the policy prunes."""
    engine = load_engine(model, config, threads)
    if policy != "exact" and not engine.calibrated:
        with Console(stderr=True).status("calibrating, once for this checkpoint"):
            engine.prepare()
    return engine


def print_timings(timings: Mapping[str, float], schedule: Mapping[str, int]) -> None:
    """Prints milliseconds per component, and counts of what ran."""
    table = Table("component", "ms", box=None)
    for name, value in timings.items():
        table.add_row(name, f"{value:.1f}")
    console = Console(stderr=True)
    print_table(console, table)
    console.print("  ".join(f"{name} {count}" for name, count in schedule.items()), soft_wrap=True)
