"""Connections that cost more than they bring: uvicorn's HTTP/1.1 protocol with clocks for clients that trickle their
headers or do not read their answer, turns for those who send in crumbs, and a bound on how many are open. It knows
sockets, not requests."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import h11
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.h11_impl import H11Protocol

from server.connections.fair_turns import Turns
from server.connections.hangups import Hangups
from server.connections.parsing import BoundedParser
from server.connections.slots import PlaceLimits, Places, client_group
from server.errors import Problem
from server.limits import MAX_HEAD_BYTES

_LEAST_PROGRESS = 64 * 1024
_READ = 16 * 1024  # bytes of one read; of 256 KiB of headers, asyncio's default, h11 makes 0.2 s
_SIZED_READ = 256 * 1024  # of a body whose length is known, which is not parsed
_PROBE = re.compile(rb"(?:GET|HEAD) ([!-~]{1,300}) HTTP/1", re.ASCII)
_LONGEST_PROBE = 320
# Why a connection is cut off.
CUTS = ("head_timeout", "body_unread", "answer_unread", "too_many_connections", "chunks_too_small")


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionLimits:
    """Bounds on connections.

    Attributes:
        most: connections open at once.
        per_client: those of one client address; None for no bound of its own.
        probes: paths that are answered beyond these bounds.
        head_s: seconds from the first byte of a request (or from the connection) to the end of its headers; also what
            a client gets to send the rest of a body that nobody reads any more.
        stall_s: seconds a client gets to take 64 KiB of its answer, or what is left of it.
        head_bytes: of a request's headers.
    """

    maximum: int = 512
    per_client: int | None = None
    probes: frozenset[str] = frozenset()
    head_s: float = 10.0
    stall_s: float = 30.0
    head_bytes: int = MAX_HEAD_BYTES

    @property
    def look_s(self) -> float:
        return min(self.head_s, self.stall_s) / 5


class _Flow(FlowControl):
    """uvicorn's flow control, which the application resumes whenever it wants more of a body, with a second reason to
    stop reading."""

    def __init__(self, transport: asyncio.Transport) -> None:
        super().__init__(transport)
        self.held = False

    def hold(self) -> None:
        self.held = True
        self._transport.pause_reading()

    def release(self) -> None:
        self.held = False
        if not self.read_paused:
            self._transport.resume_reading()

    def resume_reading(self) -> None:
        if self.held:
            self.read_paused = False
        else:
            super().resume_reading()


class _Shared:
    """What the connections of one server have in common."""

    def __init__(self, limits: ConnectionLimits, count_cut: Callable[[str], None]) -> None:
        self.limits = limits
        self.count_cut = count_cut
        self.places = Places(PlaceLimits(total=limits.maximum, per_client=limits.per_client))
        self.turns = Turns()
        self.hangups = Hangups()


class GuardedProtocol(H11Protocol):
    """One connection that is looked at every now and then, and cut off where it stands still.

    One that sends its body in tiny chunks is read in turns with others like it (`server.connections.fair_turns`), and
    one whose peer leaves while a request runs is closed, whatever the peer sent behind that request.
    """

    conn: BoundedParser
    flow: _Flow
    opened_at: float
    idle_since: float  # without a request in progress since then; of no meaning while `busy`
    client_group: str | None = None
    _head_since: float | None  # the head of a request has been coming since then
    _unread: tuple[float, int] | None = None  # when the answer last moved on, and the bytes left of it then
    _watchdog: asyncio.TimerHandle | None = None

    def __init__(self, shared: _Shared, **options: Any) -> None:
        super().__init__(**options)
        self._shared = shared
        self.limits = shared.limits
        self.conn = BoundedParser(self.limits.head_bytes)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.flow = _Flow(transport)
        self._fd: int = transport.get_extra_info("socket").fileno()
        self.client_group = client_group(self.client[0] if self.client else None)
        self.opened_at = self.idle_since = self._head_since = self.loop.time()
        self._watchdog = self.loop.call_later(self.limits.look_s, self._look)
        self._set_read_size()
        if not self._shared.places.enter(self):
            self._enter_as_probe()

    def _enter_as_probe(self) -> None:
        """There is no place but for a probe: one is let in at once, others are refused at once, and who has not asked
        yet may wait for a moment."""
        with socket.socket(fileno=os.dup(self._fd)) as peer:
            try:
                requested = _PROBE.match(peer.recv(_LONGEST_PROBE, socket.MSG_PEEK))
            except BlockingIOError:
                welcome = self._shared.places.reserve(self)
            except OSError:
                welcome = False
            else:
                welcome = requested is not None and requested[1].decode() in self.limits.probes
                if not welcome:
                    with contextlib.suppress(OSError):
                        peer.recv(_READ)  # a socket that is closed with something unread would lose the answer
        if welcome:
            self.app = _probes_only(self.app, self.limits.probes, self._too_many)
        else:
            self._head_since = None
            self._answer(self._too_many())

    def connection_lost(self, exc: Exception | None) -> None:
        if self._watchdog is not None:
            self._watchdog.cancel()
        self._shared.places.leave(self)
        self._shared.hangups.forget(self._fd)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if not self.flow.held:
            self.conn.begin_turn()
        super().data_received(data)
        self._after_events()

    def on_response_complete(self) -> None:
        self.idle_since = self.loop.time()
        self._shared.hangups.forget(self._fd)
        super().on_response_complete()
        self._after_events()

    def _after_events(self) -> None:
        if self.transport.is_closing():
            return
        self._note_head()
        self._set_read_size()
        if (self.conn.stopped or self.conn.overdrawn) and not self.flow.held:
            self.flow.hold()
            self._shared.turns.wait(self._go_on)
        if self.flow.read_paused and self.busy and not self.receiving:
            self._shared.hangups.watch(self._fd, self.transport.close)

    def _go_on(self) -> None:
        if self.transport.is_closing():
            return
        stopped = self.conn.stopped
        self.conn.begin_turn()
        self.flow.release()
        if stopped:
            self.handle_events()
            self._after_events()

    def _set_read_size(self) -> None:
        transport: Any = self.transport  # asyncio's own have it; no other needs it
        transport.max_size = _SIZED_READ if self.conn.sized else _READ

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's words are plain text
        problem = self.conn.refusal
        if problem is None:
            problem = Problem(400, "malformed_request", "this is not HTTP/1.1; send a well-formed request")
        elif problem.code in CUTS:
            self._shared.count_cut(problem.code)
        self._answer(problem)

    @property
    def busy(self) -> bool:
        """A request is in progress."""
        return self.cycle is not None and not self.cycle.response_complete

    @property
    def receiving(self) -> bool:
        """A request is in progress, and more of its body is to come."""
        return self.busy and self.cycle.more_body

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
        self._watchdog = self.loop.call_later(self.limits.look_s, self._look)

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
            self._shared.count_cut("head_timeout")
            message = f"the headers did not arrive within {self.limits.head_s:g} s; send them faster"
            self._answer(Problem(408, "head_timeout", message))
        else:  # nothing has been asked
            self._cut("head_timeout")

    def _too_many(self) -> Problem:
        self._shared.count_cut("too_many_connections")
        maximum = (
            self.limits.maximum if self.limits.per_client is None else min(self.limits.maximum, self.limits.per_client)
        )
        message = f"{self.limits.maximum} connections may be open, {maximum} of one client; close some, or retry later"
        return Problem(503, "too_many_connections", message, headers={"Retry-After": "1"})

    def _cut(self, reason: str) -> None:
        self._shared.count_cut(reason)
        self.drop()

    def evict(self) -> None:
        """As `server.connections.slots` asks."""
        self._cut("too_many_connections")

    def drop(self) -> None:
        """Closes the socket now, whatever is still to be sent."""
        self.connections.discard(self)  # at once: more may arrive before the loop tells us that it is gone
        self._shared.places.leave(self)
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
        count_cut: called with the reason, one of `CUTS`, of every connection that is cut off.
    """
    shared = _Shared(limits, count_cut)

    class Guarded(GuardedProtocol):
        def __init__(self, **options: Any) -> None:
            super().__init__(shared, **options)

    return Guarded


def _probes_only(app: ASGIApp, probes: frozenset[str], refused: Callable[[], Problem]) -> ASGIApp:
    """The app for a connection that has a place for one probe: whatever else it asks is refused."""

    async def only(scope: Scope, receive: Receive, send: Send) -> None:
        async def send_last(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], (b"connection", b"close")]}
            await send(message)

        await (app if scope["path"] in probes else refused().response())(scope, receive, send_last)

    return only
