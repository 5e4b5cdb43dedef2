"""`python -m server`: what `flashu serve` runs, without the engine's command line and so without torch in the process
of the front end."""

from __future__ import annotations

import typer

from server.command import serve

if __name__ == "__main__":
    typer.run(serve)
