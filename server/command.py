"""`flashu serve`: the command line of the server. It turns options into `Settings` and runs; what is not given comes
from `FLASHU_*` variables or the defaults. The engine's command line finds it as an entry point."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from server.app import run
from server.logs import LogFormat
from server.settings import Attention, Dtype, Settings


def serve(
    model: Annotated[
        str | None, typer.Argument(help="A folder or hub id; the embedded model by default.", show_default=False)
    ] = None,
    *,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0 takes a free one.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:1, ...")] = None,
    dtype: Annotated[Dtype | None, typer.Option(help="Type of the weights.")] = None,
    attention: Annotated[Attention | None, typer.Option(help="Attention kernel.")] = None,
    acceleration: Annotated[str | None, typer.Option(help="Policy of requests that name none.")] = None,
    max_batch: Annotated[int | None, typer.Option(help="Sequences evaluated together at most.")] = None,
    max_queue_seconds: Annotated[
        float | None, typer.Option(help="Seconds a request may have to wait; one that would wait longer is refused.")
    ] = None,
    max_queue: Annotated[int | None, typer.Option(help="Requests of a task that may wait.")] = None,
    load_timeout: Annotated[float | None, typer.Option(help="Seconds to load and warm up.")] = None,
    hang_timeout: Annotated[float | None, typer.Option(help="Seconds without progress before a restart.")] = None,
    api_key: Annotated[
        list[str] | None,
        typer.Option(help="KEY or NAME:KEY that opens the routes; may come again. FLASHU_API_KEYS shows in no list."),
    ] = None,
    api_key_file: Annotated[Path | None, typer.Option(help="File of such keys, one a line.")] = None,
    rate_limit: Annotated[str | None, typer.Option(help="Requests per key, as 60/minute.")] = None,
    log_format: Annotated[LogFormat | None, typer.Option(help="Lines of the log.")] = None,
    shutdown_timeout: Annotated[int | None, typer.Option(help="Seconds for requests in flight at the end.")] = None,
) -> None:
    """Serve pictures and answers over HTTP."""
    given: dict[str, Any] = {
        "model": model,
        "host": host,
        "port": port,
        "device": device,
        "dtype": dtype,
        "attention": attention,
        "acceleration": acceleration,
        "max_batch": max_batch,
        "max_queue_seconds": max_queue_seconds,
        "max_queue": max_queue,
        "load_timeout_s": load_timeout,
        "hang_timeout_s": hang_timeout,
        "api_keys": "\n".join(api_key) if api_key else None,
        "api_key_file": api_key_file,
        "rate_limit": rate_limit,
        "log_format": log_format,
        "shutdown_timeout_s": shutdown_timeout,
    }
    try:
        settings = Settings(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        name = ".".join(str(part) for part in first["loc"])
        raise typer.BadParameter(f"{name}: {first['msg']}") from None
    run(settings)
