"""`python -m server`: the same as `flashu serve`, without the engine's command line around it. Neither imports torch in
the front end's process."""

from __future__ import annotations

import os
import signal


def end_on_signals() -> None:
    """Makes SIGTERM and SIGINT end the process at once, until a server runs that can shut down gracefully.

    The imports take a while. During that time the first process of a container ignores signals without a handler, and
    Python's `KeyboardInterrupt` is lost when it is raised in a finaliser or a callback.
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
