"""Options that several commands take, and what their texts mean."""

from __future__ import annotations

from typing import Annotated

import typer

from flashu_core.config import AttentionName, DtypeName
from flashu_core.errors import InvalidRequestError

Model = Annotated[str | None, typer.Option(help="A folder or hub id; the embedded model by default.")]
ModelArgument = Annotated[str | None, typer.Argument(help="A folder or hub id; the embedded model by default.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ...")]
Dtype = Annotated[DtypeName, typer.Option(help="Type of the weights.")]
Attention = Annotated[AttentionName, typer.Option(help="Attention kernel.")]
Acceleration = Annotated[str, typer.Option(help="Name of the acceleration policy.")]
Parameters = Annotated[
    list[str] | None, typer.Option("--set", help="NAME=VALUE: one parameter of the policy; may be repeated.")
]
Seed = Annotated[int | None, typer.Option(help="Seed of the random numbers; random by default.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one line of JSON instead of a table.")]
Threads = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Threads that compute on the CPU; by default OMP_NUM_THREADS, else all CPUs, fewer for a small model.",
    ),
]


def parse_overrides(pairs: list[str] | None) -> dict[str, float]:
    """The values of `--set`.

    Raises:
        InvalidRequestError: one is not NAME=NUMBER.
    """
    found = {}
    for pair in pairs or ():
        name, _, value = pair.partition("=")
        try:
            found[name] = float(value)
        except ValueError:
            raise InvalidRequestError(f"--set {pair!r} is not NAME=NUMBER", parameter="acceleration") from None
    return found


def parse_size(text: str | None) -> tuple[int | None, int | None]:
    """Width and height of `--size`; None for both without one.

    Raises:
        InvalidRequestError: it is not WIDTHxHEIGHT.
    """
    if text is None:
        return None, None
    width, _, height = text.partition("x")
    if not (width.isdecimal() and height.isdecimal()):
        raise InvalidRequestError(f"size is {text!r}; write WIDTHxHEIGHT, such as 432x432", parameter="size")
    return int(width), int(height)
