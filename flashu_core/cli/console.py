"""Tables for terminals, files and pipes alike: whole, whatever the width of the terminal is or is thought to be."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

_WIDEST = 10_000


def print_table(console: Console, table: Table) -> None:
    """Prints every column at its full width: a narrow terminal breaks lines, and nothing is cut."""
    usual = console.width
    console.width = max(console.measure(table, options=console.options.update(width=_WIDEST)).maximum, usual)
    try:
        console.print(table)
    finally:
        console.width = usual
