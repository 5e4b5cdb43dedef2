"""One request between its consumer and the process that works on it: the events that were not read yet. For a slow
consumer only the last progress is kept, and an answer's pieces as one; for one that only waits for the end, none."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from flashu_core import Finished, Progress, RequestEvent, Result, Text


@dataclass(kw_only=True, slots=True, eq=False)
class RequestHandle:
    """A request and its consumer; belongs to one event loop.

    Attributes:
        rows: of a batch, that it takes.
        streamed: whether `next_events` will be called; else only the end is kept.
        abandoned: its consumer has left.
        progress: the last event.
    """

    request_id: str
    rows: int
    streamed: bool = False
    abandoned: bool = False
    progress: Progress | None = None
    _pending: dict[type[RequestEvent], RequestEvent] = field(default_factory=dict)
    _ending: Finished | Exception | None = None
    _changed: asyncio.Event = field(default_factory=asyncio.Event)
    _ended: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def steps_left(self) -> int:
        """Of a picture that was begun."""
        return 0 if self.progress is None else self.progress.of - self.progress.step

    def publish(self, event: RequestEvent) -> None:
        """An event other than its end."""
        if isinstance(event, Progress):
            self.progress = event
        if not self.streamed:
            return
        before = self._pending.get(type(event))
        if isinstance(event, Text) and isinstance(before, Text):
            event = Text(event.request_id, before.text + event.text, before.logprobs + event.logprobs)
        self._pending[type(event)] = event
        self._changed.set()

    def end(self, ending: Finished | Exception) -> None:
        """Its result or what it failed with; nothing where it has ended already."""
        if self._ending is None:
            self._ending = ending
            self._ended.set()
            self._changed.set()

    async def result(self) -> Result:
        """Waits for the end. Raises what the request failed with."""
        await self._ended.wait()
        return self._outcome().result

    async def next_events(self) -> list[RequestEvent]:
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
