"""`python -m server`: what `flashu serve` runs, without the command line of the engine around it. Neither has torch in
the process of the front end."""

from __future__ import annotations

import typer

from server.command import serve

if __name__ == "__main__":
    typer.run(serve)
