"""Requests in many pieces, in forms that others may read in another way, or with something behind them, over real
sockets."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from typing import Any

import pytest
from raw_http import CHUNKED, OK, POST, TIMEOUT_S, error_of, exchange, rest_of


def chunks(size: int, count: int) -> bytes:
    return (b"%x\r\n" % size + b"A" * size + b"\r\n") * count


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"GET /ok HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n",
        b"GET /ok HTTP/1.1\r\nHost: a\r\nA: " + b"x" * 100_000,
        b"GET /secret canary HTTP/1.1\r\nHost: a\r\n\r\n",
    ],
)
def test_what_is_no_http_gets_the_one_error_body(sent: bytes, guarded: Any) -> None:
    with guarded() as served, served.connect() as client:
        client.sendall(sent)
        answer = rest_of(client)
        if answer:  # with more unread than we sent, the socket may be reset before the answer is read
            assert error_of(answer, 400)["code"] == "malformed_request"
            assert b"canary" not in answer
        else:
            assert len(sent) > 65536


@pytest.mark.parametrize(("size", "count"), [(1, 1000), (20, 5000), (200, 500), (100_000, 20)])
def test_chunks_of_a_reasonable_size_are_read(size: int, count: int, guarded: Any) -> None:
    with guarded() as served:
        answer = exchange(served, CHUNKED + chunks(size, count) + b"0\r\n\r\n")
        assert answer.endswith(b"\r\n\r\n%d" % (size * count)), answer
        assert served.cut == []


def test_a_body_in_crumbs_is_refused(guarded: Any) -> None:
    with guarded() as served:
        answer = exchange(
            served, CHUNKED + chunks(1, 5000)
        )  # no more than the kernel takes, so that no reset takes the answer
        assert "16 bytes on average" in error_of(answer, 400)["message"]
        assert served.cut == ["chunks_too_small"]


@pytest.mark.parametrize("piece", [chunks(1, 20_000), chunks(17, 5_000), b"A"])
def test_eight_senders_of_crumbs_leave_the_loop_to_others(piece: bytes, guarded: Any) -> None:
    with guarded() as served:
        end = threading.Event()

        def attack() -> None:
            while not end.is_set():
                with served.connect() as client:
                    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    client.settimeout(1)
                    with contextlib.suppress(OSError):
                        client.sendall(CHUNKED if len(piece) > 1 else POST + b"Content-Length: 100000000\r\n\r\n")
                        while not end.is_set():
                            client.sendall(piece)

        attackers = [threading.Thread(target=attack) for _ in range(8)]
        for one in attackers:
            one.start()
        try:
            served.wait_for(lambda: served.reading > 0 or bool(served.cut))
            for _ in range(50):
                begun = time.monotonic()
                assert exchange(served, OK).startswith(b"HTTP/1.1 200")
                assert time.monotonic() - begun < 5  # it was ten and more
        finally:
            end.set()
            for one in attackers:
                one.join(TIMEOUT_S)


@pytest.mark.parametrize(
    ("head", "status", "code"),
    [
        (b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", 400, "ambiguous_length"),
        (b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", 400, "ambiguous_length"),
        (b"Content-Length: 5\r\nContent-Length: 6\r\n", 400, "malformed_request"),
        (b"Transfer-Encoding: gzip, chunked\r\n", 400, "malformed_request"),
        (b"Transfer-Encoding : chunked\r\n", 400, "malformed_request"),
        (b"Content-Length: +5\r\n", 400, "malformed_request"),
        (b"Host: b\r\n", 400, "malformed_request"),
        (b"A\0: b\r\n", 400, "malformed_request"),
        (b"A: b\r\n" * 200, 431, "too_many_headers"),
    ],
)
def test_heads_that_others_may_read_in_another_way(head: bytes, status: int, code: str, guarded: Any) -> None:
    with guarded() as served:
        sent = POST + head + b"\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
        answer = exchange(served, sent)
        assert error_of(answer, status)["code"] == code
        assert answer.count(b"HTTP/1.1 ") == 1
        assert served.ended == 0


def test_a_length_of_its_own_in_http_1_0(guarded: Any) -> None:
    with guarded() as served:
        answer = exchange(served, b"POST /read HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nA\r\n0\r\n\r\n")
        assert error_of(answer, 400)["code"] == "ambiguous_length"


def test_a_head_that_comes_at_once_has_the_same_limit(guarded: Any) -> None:
    with guarded() as served:
        answer = exchange(served, b"GET /ok HTTP/1.1\r\nHost: a\r\n" + b"A: b\r\n" * 8000 + b"\r\n")
        assert answer == b"" or error_of(answer, 400)["code"] == "malformed_request"
        assert served.ended == 0


@pytest.mark.parametrize("late", [b"", b"G", OK, b"x" * 100_000, OK * 500], ids=len)
@pytest.mark.parametrize("reset", [False, True])
def test_whoever_leaves_is_missed_whatever_came_behind_the_request(late: bytes, reset: bool, guarded: Any) -> None:
    with guarded() as served, served.connect() as client:
        client.sendall(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n")
        served.wait_for(lambda: served.waiting == 1)
        client.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            client.send(late)
        time.sleep(0.1)
        assert served.waiting == 1
        if reset:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.close()
        served.wait_for(lambda: served.waiting == 0)
        assert served.cut == []


def test_events_read_byte_by_byte_keep_nobody_waiting(guarded: Any) -> None:
    with guarded() as served, contextlib.ExitStack() as stack:
        end = threading.Event()

        def read(client: socket.socket) -> None:
            client.sendall(b"GET /events HTTP/1.1\r\nHost: a\r\n\r\n")
            while not end.is_set() and client.recv(1):
                pass

        readers = [stack.enter_context(served.connect(SO_RCVBUF=4096)) for _ in range(4)]
        threads = [threading.Thread(target=read, args=(one,)) for one in readers]
        for one in threads:
            one.start()
        for _ in range(20):
            begun = time.monotonic()
            assert exchange(served, OK).startswith(b"HTTP/1.1 200")
            assert time.monotonic() - begun < 5
        end.set()
        for one in threads:
            one.join(TIMEOUT_S)
        assert served.cut == []
