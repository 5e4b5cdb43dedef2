"""One request on its way: the frame to send, and what the engine has told of it for the one who follows it. What a slow
follower has not taken is kept in bounded room: the last progress only, and an answer's pieces as one."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from flashu_core import Event, Finished, Progress, Result, Text
from server.wire import Frame


@dataclass(frozen=True, slots=True)
class Started:
    """The engine has taken a request, `waited` seconds after it came."""

    request: int
    waited: float


JobEvent = Started | Event


@dataclass(slots=True, eq=False)
class Job:
    """A request between the one who follows it and the process that works on it; belongs to one event loop.

    Attributes:
        number: counts arrivals; both processes call the request by it.
        frame: the message that submits it.
        rows: places it takes in a batch.
        deadline, arrived, started: monotonic seconds; it starts when it is sent.
        abandoned: nobody follows it any more.
        progress: the last that was told.
    """

    number: int
    frame: Frame
    rows: int
    priority: int
    deadline: float | None
    arrived: float
    started: float = 0.0
    abandoned: bool = False
    progress: Progress | None = None
    _told: dict[type[JobEvent], JobEvent] = field(default_factory=dict)
    _ending: Finished | Exception | None = None
    _news: asyncio.Event = field(default_factory=asyncio.Event)
    _ended: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def rank(self) -> tuple[int, int]:
        """Earlier runs first: by priority, lowest number first, then by arrival."""
        return (self.priority, self.number)

    @property
    def waited(self) -> float:
        return self.started - self.arrived

    def tell(self, event: JobEvent) -> None:
        if isinstance(event, Progress):
            self.progress = event
        before = self._told.get(type(event))
        if isinstance(event, Text) and isinstance(before, Text):
            event = Text(event.request, before.text + event.text)
        self._told[type(event)] = event
        self._news.set()

    def end(self, ending: Finished | Exception) -> None:
        """Its result or what it failed with; nothing where it has ended already."""
        if self._ending is None:
            self._ending = ending
            self._ended.set()
            self._news.set()

    async def result(self) -> Result:
        """Waits for the end, whatever is told before. Raises what the request failed with."""
        await self._ended.wait()
        return self._outcome().result

    async def news(self) -> list[JobEvent]:
        """Waits for what has been told since the last call; the end comes alone, raised where it is a failure."""
        await self._news.wait()
        if not self._told:
            return [self._outcome()]
        told = list(self._told.values())
        self._told.clear()
        if self._ending is None:
            self._news.clear()
        return told

    def _outcome(self) -> Finished:
        if isinstance(self._ending, Finished):
            return self._ending
        assert self._ending is not None
        raise self._ending
