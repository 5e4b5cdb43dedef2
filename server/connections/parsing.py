"""h11's parser with the bounds that it lacks: on the framing that others might read in another way, on the number of
header fields and chunks, and on how much is parsed in one turn of the event loop. It knows one connection's bytes."""

from __future__ import annotations

import h11

from server.errors import Problem
from server.limits import MAX_HEADERS, MAX_SMALL_CHUNKS, MIN_CHUNK_BYTES

_TURN = 64  # pieces of a body that are parsed at once; about a millisecond
_FREE = 64  # pieces of a message that cost nothing, however small
_FREE_BYTES = 256  # bytes that pay for one more


class BoundedParser(h11.Connection):
    """The server's side of a connection.

    It stops after 64 pieces of a body until `begin_turn`, as if there were no more data: a read of 256 KiB may hold
    forty thousand chunks, which take h11 half a second.

    Attributes:
        refusal: why `next_event` raised `h11.RemoteProtocolError`, where the reason is one of ours.
        stopped: there is more to parse, and the turn is over.
        sized: the message's body has a length, so that large reads are cheap.
    """

    def __init__(self, max_head_bytes: int) -> None:
        super().__init__(h11.SERVER, max_head_bytes)
        self.refusal: Problem | None = None
        self.stopped = False
        self.sized = False
        self._left = _TURN
        self._pieces = 0  # reads and chunks of the message
        self._bytes = 0
        self._chunks = 0
        self._chunk_bytes = 0

    def receive_data(self, data: bytes) -> None:
        self._pieces += 1
        self._bytes += len(data)
        super().receive_data(data)

    def begin_turn(self) -> None:
        """Lets `next_event` parse on."""
        self._left = _TURN
        self.stopped = False

    @property
    def overdrawn(self) -> bool:
        """Whether the message came in so many pieces for its bytes that its sender should wait between them."""
        return self._pieces > _FREE + self._bytes // _FREE_BYTES

    def next_event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        if self._left <= 0:
            self.stopped = True
            return h11.NEED_DATA
        event = super().next_event()
        if isinstance(event, h11.Data):
            self._left -= 1
            if event.chunk_end:
                self._count_chunk()
            self._chunk_bytes += len(event.data)
        elif isinstance(event, h11.Request):
            self._check(event)
        elif isinstance(event, h11.EndOfMessage):
            self.sized = False
            self._pieces = self._bytes = self._chunks = self._chunk_bytes = 0
        return event

    def _count_chunk(self) -> None:
        self._left -= 1
        self._pieces += 1
        self._chunks += 1
        if self._chunks > MAX_SMALL_CHUNKS + self._chunk_bytes // MIN_CHUNK_BYTES:
            message = (
                f"the body came in {self._chunks} chunks of less than {MIN_CHUNK_BYTES} bytes on average; "
                "collect it before sending, or declare its Content-Length"
            )
            self._refuse(Problem(400, "chunks_too_small", message))

    def _check(self, request: h11.Request) -> None:
        names = [name for name, _ in request.headers]
        self.sized = b"content-length" in names
        if b"transfer-encoding" in names:
            if self.sized:
                # RFC 9112, 6.3: a proxy in between may have believed the other one.
                message = "the request has both Content-Length and Transfer-Encoding; send one of them"
                self._refuse(Problem(400, "ambiguous_length", message))
            if request.http_version < b"1.1":
                message = "the request is HTTP/1.0 and has a Transfer-Encoding; send Content-Length"
                self._refuse(Problem(400, "ambiguous_length", message))
        if len(names) > MAX_HEADERS:
            message = f"the request has {len(names)} header fields; send at most {MAX_HEADERS}"
            self._refuse(Problem(431, "too_many_headers", message))

    def _refuse(self, problem: Problem) -> None:
        self.refusal = problem
        raise h11.RemoteProtocolError(problem.code, error_status_hint=problem.status)
