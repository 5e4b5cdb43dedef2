"""`python -m server`: what `flashu serve` runs, without the command line of the engine around it. Neither has torch in
the process of the front end."""

from __future__ import annotations

import os
import signal


def end_on_signals() -> None:
    """Makes SIGTERM and SIGINT end the process at once, until there is a server that can end in order.

    The imports take a while. Meanwhile the first process of a container ignores a signal that nobody handles, and
    Python's own answer to SIGINT, `KeyboardInterrupt`, is lost where it is raised in a finaliser or a callback.
    """
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    signal.signal(signal.SIGINT, lambda *_: os._exit(128 + signal.SIGINT))


def main() -> None:
    end_on_signals()
    import typer

    from server.command import serve

    typer.run(serve)


if __name__ == "__main__":
    main()
