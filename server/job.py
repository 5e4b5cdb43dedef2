"""One request between the event loop, where somebody awaits its future, and the worker's thread, which settles it. It
knows how to cross over, nothing of queues or engines."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass

from flashu_core import Event, Request, Result


@dataclass(slots=True, eq=False)
class Job:
    """A request on its way.

    Attributes:
        number: counts arrivals.
        arrived, started: monotonic seconds; when it was queued, and given to the engine.
        future: (result, seconds it waited); belongs to `loop`.
        listen: told of what happens on the way, in the loop.
        identity: the engine's id.
        abandoned: nobody awaits it any more.
    """

    request: Request
    number: int
    arrived: float
    future: asyncio.Future[tuple[Result, float]]
    loop: asyncio.AbstractEventLoop
    listen: Callable[[Event], None] | None = None
    started: float = 0.0
    identity: int = -1
    abandoned: bool = False

    def tell(self, event: Event) -> None:
        """From any thread; nothing where nobody listens."""
        if self.listen is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                self.loop.call_soon_threadsafe(self.listen, event)

    def succeed(self, result: Result) -> None:
        """From any thread; nothing where it has ended already."""
        waited = self.started - self.arrived
        self._settle(lambda: self.future.set_result((result, waited)))

    def fail(self, error: Exception) -> None:
        """From any thread; nothing where it has ended already."""
        self._settle(lambda: self.future.set_exception(error))

    def _settle(self, settle: Callable[[], None]) -> None:
        def unless_done() -> None:
            if not self.future.done():
                settle()

        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self.loop.call_soon_threadsafe(unless_done)
