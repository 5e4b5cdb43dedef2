"""`python -m server`: what `flashu serve` runs, without the command line of the engine around it. Neither has torch in
the process of the front end."""

from __future__ import annotations

import os
import signal


def main() -> None:
    # The first process of a container ignores a signal that nobody handles, and the imports take a while.
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    import typer

    from server.command import serve

    typer.run(serve)


if __name__ == "__main__":
    main()
