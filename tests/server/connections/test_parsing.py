"""The parser's bounds, byte by byte."""

from __future__ import annotations

import h11
import pytest

from server.connections.parsing import BoundedParser
from server.limits import MAX_HEADERS

HEAD = b"POST / HTTP/1.1\r\nHost: a\r\n"


def events(parser: BoundedParser) -> list[object]:
    found: list[object] = []
    while (event := parser.next_event()) is not h11.NEED_DATA:
        found.append(event)
        if event is h11.PAUSED:
            break
    return found


def test_a_turn_ends_and_the_next_one_goes_on() -> None:
    parser = BoundedParser(16384)
    parser.receive_data(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\nA\r\n" * 500 + b"0\r\n\r\n")
    turns, got = 0, b""
    while True:
        parser.begin_turn()
        found = events(parser)
        assert len(found) <= 65
        got += b"".join(bytes(event.data) for event in found if isinstance(event, h11.Data))
        turns += 1
        if not parser.stopped:
            break
    assert got == b"A" * 500
    assert turns > 5


def test_crumbs_overdraw_and_ordinary_bodies_do_not() -> None:
    parser = BoundedParser(16384)
    parser.receive_data(HEAD + b"Content-Length: 1000000\r\n\r\n")
    for _ in range(600):
        parser.begin_turn()
        parser.receive_data(b"x" * 1448)  # what one packet holds
        events(parser)
        assert not parser.overdrawn
    assert parser.sized
    crumbs = BoundedParser(16384)
    for index, byte in enumerate(HEAD * 4):
        crumbs.receive_data(bytes([byte]))
        assert crumbs.overdrawn == (index >= 64)


def test_each_message_begins_anew() -> None:
    parser = BoundedParser(16384)
    for _ in range(3):
        parser.receive_data(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        for _ in range(1000):
            parser.begin_turn()
            parser.receive_data(b"1\r\nA\r\n")
            events(parser)
        assert parser.overdrawn
        parser.receive_data(b"0\r\n\r\n")
        events(parser)
        assert not parser.overdrawn
        parser.send(h11.Response(status_code=200, headers=[("content-length", "0")]))
        parser.send(h11.EndOfMessage())
        parser.start_next_cycle()


@pytest.mark.parametrize("count", [MAX_HEADERS - 1, MAX_HEADERS])
def test_the_number_of_header_fields(count: int) -> None:
    parser = BoundedParser(16384)
    parser.receive_data(b"GET / HTTP/1.1\r\nHost: a\r\n" + b"A: b\r\n" * count + b"\r\n")
    if count < MAX_HEADERS:
        assert isinstance(parser.next_event(), h11.Request)
    else:
        with pytest.raises(h11.RemoteProtocolError):
            parser.next_event()
        assert parser.refusal is not None
        assert parser.refusal.status == 431
