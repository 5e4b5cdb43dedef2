"""The command line as a page, from the commands' own help."""

from __future__ import annotations

from importlib.metadata import entry_points

import typer
from typer.cli import get_docs_for_click
from typer.main import get_command

from flashu_core.cli.main import app

_HEAD = """# Command line

Made by `python -m docs.reference` from the commands' help. `flashu serve` has an option for every
[setting](../settings.md), which are described there.

"""
_HIDDEN = ("* `--install-completion`", "* `--show-completion`", "* `--help`")


def text() -> str:
    """The page, without the options that every command has."""
    full = typer.Typer(name="flashu", help=app.info.help, no_args_is_help=True)
    full.registered_callback = app.registered_callback
    full.registered_commands = list(app.registered_commands)
    for entry in sorted(entry_points(group="flashu.commands"), key=lambda entry: entry.name):
        command = entry.load()
        if isinstance(command, typer.Typer):  # a group of commands
            full.add_typer(command, name=entry.name)
        else:
            full.command(entry.name)(command)
    group = get_command(full)
    found = get_docs_for_click(obj=group, ctx=typer.Context(group, info_name="flashu"), name="flashu")
    lines = [line for line in found.splitlines() if not line.startswith(_HIDDEN)]
    return _HEAD + "\n".join(lines[2:]).replace("**Options**:\n\n\n", "").rstrip() + "\n"
