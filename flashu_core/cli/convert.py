"""`flashu convert`: a published checkpoint in this project's layout, one folder that needs nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from flashu_core.cli.options import Dtype


def convert(
    source: Annotated[str, typer.Argument(help="A published checkpoint: a folder or hub id.")],
    destination: Annotated[Path, typer.Argument(help="A new folder.")],
    *,
    vae: Annotated[
        str | None, typer.Option(help="Wan2.1_VAE.pth or vae.safetensors; the one beside the checkpoint by default.")
    ] = None,
    tokenizer: Annotated[
        str | None, typer.Option(help="Folder or hub id; that of the language model by default.")
    ] = None,
    language_model: Annotated[
        str | None, typer.Option(help="Folder or hub id; the one the checkpoint names by default.")
    ] = None,
    dtype: Dtype = "bfloat16",
) -> None:
    """Convert a published checkpoint to this project's layout."""
    # Only here is torch needed.
    from flashu_core.checkpoint.convert import convert as convert_checkpoint
    from flashu_core.checkpoint.load import choose_dtype

    convert_checkpoint(
        source,
        destination,
        vae=vae,
        tokenizer=tokenizer,
        language_model=language_model,
        dtype=choose_dtype(dtype, "cpu"),
    )
    Console(stderr=True).print(f"wrote {destination}", soft_wrap=True, markup=False)
