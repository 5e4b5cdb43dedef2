"""One request on its way: the events that its consumer has not read yet. What a slow consumer has not taken
is kept in bounded room: the last progress only, and an answer's pieces as one."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from flashu_core import Event, Finished, Progress, Result, Text


@dataclass(slots=True, eq=False)
class RequestHandle:
    """A request between the one who follows it and the process that works on it; belongs to one event loop.

    Attributes:
        number: counts arrivals; both processes call the request by it.
        rows: places it takes in a batch.
        abandoned: nobody follows it any more.
        progress: the last event.
    """

    number: int
    rows: int
    abandoned: bool = False
    progress: Progress | None = None
    _pending: dict[type[Event], Event] = field(default_factory=dict)
    _ending: Finished | Exception | None = None
    _changed: asyncio.Event = field(default_factory=asyncio.Event)
    _ended: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def steps_left(self) -> int:
        """Of a picture that was begun."""
        return 0 if self.progress is None else self.progress.of - self.progress.step

    def publish(self, event: Event) -> None:
        if isinstance(event, Progress):
            self.progress = event
        before = self._pending.get(type(event))
        if isinstance(event, Text) and isinstance(before, Text):
            event = Text(event.request, before.text + event.text, before.logprobs + event.logprobs)
        self._pending[type(event)] = event
        self._changed.set()

    def end(self, ending: Finished | Exception) -> None:
        """Its result or what it failed with; nothing where it has ended already."""
        if self._ending is None:
            self._ending = ending
            self._ended.set()
            self._changed.set()

    async def result(self) -> Result:
        """Waits for the end and drops other events. Raises what the request failed with."""
        await self._ended.wait()
        return self._outcome().result

    async def next_events(self) -> list[Event]:
        """Waits for the events since the last call; the end comes alone, raised if it is a failure."""
        await self._changed.wait()
        if not self._pending:
            return [self._outcome()]
        pending = list(self._pending.values())
        self._pending.clear()
        if self._ending is None:
            self._changed.clear()
        return pending

    def _outcome(self) -> Finished:
        if isinstance(self._ending, Finished):
            return self._ending
        assert self._ending is not None
        raise self._ending
