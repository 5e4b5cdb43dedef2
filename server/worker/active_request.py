"""A request in the worker's process, as the front end keeps it: its consumer, its place in the predicted backlog, and
where its work is counted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from server.worker.admission import Ticket
from server.worker.request_handle import RequestHandle


def uncounted(_: int) -> None:
    """What `on_work` is where no work is counted."""


@dataclass(slots=True, eq=False)
class ActiveRequest:
    """Sent to the process, and not yet ended by it.

    Attributes:
        on_work: called with steps (of all pictures) or tokens, as they are run.
        size: of each of its pictures, as a multiple of the default size.
        counted: units of work that `on_work` was called with.
    """

    handle: RequestHandle
    ticket: Ticket
    on_work: Callable[[int], None]
    size: float = 1.0
    counted: int = 0

    def count(self, *, ahead: int = 0) -> None:
        """Reports the work that ran since the last call, and `ahead` units that are running now."""
        quote = self.ticket.quote
        done = min(self.ticket.done + ahead, quote.units)
        if done > self.counted:
            self.on_work((done - self.counted) * quote.rows)
            self.counted = done
