"""Tables for terminals, files and pipes, printed in full at any width of the terminal."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

_MAX_WIDTH = 10_000


def print_table(console: Console, table: Table) -> None:
    """Prints every column at its full width: a narrow terminal wraps lines, and nothing is truncated."""
    usual = console.width
    console.width = max(console.measure(table, options=console.options.update(width=_MAX_WIDTH)).maximum, usual)
    try:
        console.print(table)
    finally:
        console.width = usual
