"""Starts servers for attacks, and the type of an attack."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from load_tests.acceptance.server_process import ServerProcess
from load_tests.acceptance.target import Target

_READY_S = 60.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Rig:
    """Options of all attacks of a run.

    Attributes:
        threads: threads of every numeric library in a server; None leaves it to the server.
        seed: of all random choices.
    """

    threads: int | None = None
    seed: int = 0

    def server(
        self,
        *options: str,
        unread: bool = False,
        folder: Path | None = None,
        ready_s: float = _READY_S,
        environment: Mapping[str, str] | None = None,
        **settings: object,
    ) -> ServerProcess:
        """A server that is not started yet.

        Args:
            options: of `flashu serve`.
            unread: its log goes into a pipe that is not read.
            folder: its working directory; None is this process's.
            ready_s: seconds within which it must be ready.
            environment: variables other than the server's settings.
            settings: fields of the server's settings.
        """
        given = {f"FLASHU_{name.upper()}": str(value) for name, value in settings.items()}
        environment = {**(environment or {}), **given}
        return ServerProcess(
            options, threads=self.threads, environment=environment, unread=unread, folder=folder, ready_s=ready_s
        )


Attack = Callable[[Rig], Awaitable[Sequence[Target]]]
