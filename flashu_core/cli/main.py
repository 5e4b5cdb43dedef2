"""The command line: generate, understand, calibrate and convert from a terminal. Other packages add their own commands
(`serve`, `eval`) as entry points of the group `flashu.commands`, so this one imports neither a web framework nor a
grader. What needs torch is imported by the commands that do: `flashu serve` starts without it, and its front end stays
without it."""

from __future__ import annotations

import sys
from importlib.metadata import entry_points, version
from typing import Annotated

import typer

from flashu_core.cli.calibrate import calibrate
from flashu_core.cli.convert import convert
from flashu_core.cli.generate import generate
from flashu_core.cli.plan import plan
from flashu_core.cli.understand import understand
from flashu_core.errors import FlashUError
from flashu_core.reasons import reason_of
from flashu_core.streams import open_standard_streams
from flashu_core.threads import configure_waiting

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Show-o2: generate pictures, and answer questions about them.",
)
for command in (generate, understand, convert, calibrate, plan):
    app.command()(command)


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"flashu {version('flashu-server')}")
        raise typer.Exit


@app.callback()
def _options(
    *,
    show_version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and end.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Runs the command line; errors of ours are clean lines and exit status 2."""
    open_standard_streams()
    configure_waiting()  # before torch is loaded: some commands of other packages load torch as they are found
    called = next((word for word in sys.argv[1:] if not word.startswith("-")), None)
    own = {command.name or getattr(command.callback, "__name__", "") for command in app.registered_commands}
    if called not in own:
        for command in entry_points(group="flashu.commands"):
            if called is None or command.name == called:
                found = command.load()
                if isinstance(found, typer.Typer):  # a group of commands
                    app.add_typer(found, name=command.name)
                else:
                    app.command(command.name)(found)
    try:
        app()
    except FlashUError as error:
        print(f"flashu: {error}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        if error.filename is None:  # not about a file that was named
            raise
        print(f"flashu: {error.filename}: {reason_of(error)}", file=sys.stderr)
        sys.exit(2)
