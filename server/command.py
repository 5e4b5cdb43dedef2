"""`flashu serve`: the server's command line, with one option per setting. Options that are not given come from
`FLASHU_*` variables or the defaults; the engine's command line finds this command as an entry point."""

from __future__ import annotations

import inspect
import logging
import sys
from typing import Annotated, Any, get_args

import typer
from pydantic import SecretStr
from pydantic.fields import FieldInfo

from flashu_core import FlashUError
from server.app import run
from server.settings import Settings, option_of, read_settings

_API_KEY = "KEY or NAME:KEY that clients must send; repeatable. FLASHU_API_KEYS keeps keys out of process lists."


def serve(**options: Any) -> None:
    """Serve pictures and answers over HTTP."""
    given = {name: value for name, value in options.items() if value not in (None, [])}
    if "api_keys" in given:
        given["api_keys"] = "\n".join(given["api_keys"])
    try:
        status = run(read_settings(**given))
    except FlashUError as error:
        for handler in logging.getLogger().handlers:  # earlier log lines come first
            handler.flush()
        for line in str(error).splitlines():
            print(f"flashu: {line}", file=sys.stderr)
        status = 2
    if status:
        raise typer.Exit(status)


def _parameter(name: str, field: FieldInfo) -> inspect.Parameter:
    """A setting as a parameter from which typer makes an option; the model is the command's argument. `Settings`
    validates the values."""
    kind: Any = next((one for one in get_args(field.annotation) if one is bool), field.annotation)
    option = option_of(name)
    text = (field.description or "").replace("`", "")
    info: Any
    if name == "model":
        info = typer.Argument(help=text, show_default=False)
    elif kind is SecretStr:
        kind, info = list[str], typer.Option(option, help=_API_KEY, show_default=False)
    elif kind is bool:
        info = typer.Option(f"{option}/--no-{option.removeprefix('--')}", help=text, show_default=False)
    else:
        info = typer.Option(option, help=text, show_default=False)
    keyword = inspect.Parameter.POSITIONAL_OR_KEYWORD if name == "model" else inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(name, keyword, default=None, annotation=Annotated[kind | None, info])


_PARAMETERS = [_parameter(name, field) for name, field in Settings.model_fields.items()]
# typer reads these instead of the function's own signature.
serve.__signature__ = inspect.Signature(_PARAMETERS, return_annotation=None)  # type: ignore[attr-defined]
serve.__annotations__ = {parameter.name: parameter.annotation for parameter in _PARAMETERS}
