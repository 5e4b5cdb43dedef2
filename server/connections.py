"""Connections that cost more than they bring: uvicorn's HTTP/1.1 protocol with clocks for clients that trickle their
headers or do not read their answer, and a bound on how many are open. It knows sockets, not requests."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from server.errors import Problem

_LEAST_PROGRESS = 64 * 1024
CUTS = ("head_timeout", "body_unread", "answer_unread", "too_many_connections")  # why one is cut off


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionLimits:
    """Bounds on connections.

    Attributes:
        most: connections open at once.
        head_s: seconds from the first byte of a request (or from the connection) to the end of its headers; also what
            a client gets to send the rest of a body that nobody reads any more.
        stall_s: seconds a client gets to take 64 KiB of its answer, or what is left of it.
    """

    most: int = 512
    head_s: float = 10.0
    stall_s: float = 30.0

    @property
    def look_s(self) -> float:
        return min(self.head_s, self.stall_s) / 5


class GuardedProtocol(H11Protocol):
    """One connection that is looked at every now and then, and cut off where it stands still.

    A full server makes room for a newcomer by cutting off who has waited longest without a request; a connection with
    a request is never cut for that.
    """

    limits: ClassVar[ConnectionLimits]
    count_cut: ClassVar[Callable[[str], None]]

    idle_since: float  # without a request in progress since then; of no meaning while `busy`
    _head_since: float | None  # the head of a request has been coming since then
    _unread: tuple[float, int] | None = None  # when the answer last moved on, and the bytes left of it then
    _watch: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.idle_since = self._head_since = self.loop.time()
        self._watch = self.loop.call_later(self.limits.look_s, self._look)
        if len(self.connections) > self.limits.most:
            self._make_room()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._watch is not None:
            self._watch.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._note_head()

    def on_response_complete(self) -> None:
        self.idle_since = self.loop.time()
        super().on_response_complete()
        self._note_head()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's words are plain text
        self._answer(Problem(400, "malformed_request", "this is not HTTP/1.1; send a well-formed request"))

    @property
    def busy(self) -> bool:
        """A request is in progress."""
        return self.cycle is not None and not self.cycle.response_complete

    def _note_head(self) -> None:
        if self.conn.their_state is not h11.IDLE:
            self._head_since = None
        elif self._head_since is None and self.conn.trailing_data[0]:
            self._head_since = self.loop.time()

    def _look(self) -> None:
        now = self.loop.time()
        if self._head_since is not None and now - self._head_since > self.limits.head_s:
            self._give_up_on_head()
        elif not self.busy and self.conn.their_state is h11.SEND_BODY and now - self.idle_since > self.limits.head_s:
            self._cut("body_unread")
        elif self._stalled(now):
            self._cut("answer_unread")
        self._watch = self.loop.call_later(self.limits.look_s, self._look)

    def _stalled(self, now: float) -> bool:
        left = self.transport.get_write_buffer_size()
        if left == 0:
            self._unread = None
            return False
        # More than before: the application has written on, which it does only while the client takes what it gets.
        if self._unread is None or left > self._unread[1] or left <= self._unread[1] - _LEAST_PROGRESS:
            self._unread = (now, left)
        return now - self._unread[0] > self.limits.stall_s

    def _give_up_on_head(self) -> None:
        self._head_since = None
        if self.conn.trailing_data[0] and not self.transport.is_closing():
            type(self).count_cut("head_timeout")
            message = f"the headers did not arrive within {self.limits.head_s:g} s; send them faster"
            self._answer(Problem(408, "head_timeout", message))
        else:  # nothing has been asked
            self._cut("head_timeout")

    def _make_room(self) -> None:
        idle = [one for one in self.connections if isinstance(one, GuardedProtocol) and one is not self]
        idle = [one for one in idle if not one.busy]
        type(self).count_cut("too_many_connections")
        if idle:
            min(idle, key=lambda one: one.idle_since).drop()
            return
        message = f"{self.limits.most} connections are open and no more may; retry later"
        self._head_since = None
        self._answer(Problem(503, "too_many_connections", message, headers={"Retry-After": "1"}))

    def _cut(self, reason: str) -> None:
        type(self).count_cut(reason)
        self.drop()

    def drop(self) -> None:
        """Closes the socket now, whatever is still to be sent."""
        self.connections.discard(self)  # at once: more may arrive before the loop tells us that it is gone
        connection = self.transport.get_extra_info("socket")
        if connection is not None and self.transport.get_write_buffer_size():
            # A reset: else the kernel would hold what was not read, and the peer would never learn that it is cut off.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()

    def _answer(self, problem: Problem) -> None:
        if self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE):  # an answer is on its way already
            self.transport.close()
            return
        response = problem.response()
        headers = [*response.raw_headers, (b"connection", b"close")]
        events = (
            h11.Response(status_code=problem.status, headers=headers),
            h11.Data(data=bytes(response.body)),
            h11.EndOfMessage(),
        )
        for event in events:
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()


def guarded_protocol(limits: ConnectionLimits, count_cut: Callable[[str], None]) -> type[H11Protocol]:
    """The class for `uvicorn.Config(http=...)`.

    Args:
        count_cut: told the reason, one of `CUTS`, of every connection that is cut off.
    """
    return type("GuardedProtocol", (GuardedProtocol,), {"limits": limits, "count_cut": staticmethod(count_cut)})
