"""Clients that are slow on purpose, or many, over real sockets, and those who are not."""

from __future__ import annotations

import contextlib
import selectors
import socket
import time
from typing import Any

import httpx
from raw_http import OK, POST, TIMEOUT_S, error_of, exchange, rest_of

from server.app import create_app, http_options
from server.settings import Settings


def test_two_hundred_trickling_clients_are_cut_off_while_one_is_served(guarded: Any) -> None:
    with guarded(head_s=1.0) as served, selectors.DefaultSelector() as open_ones:
        for _ in range(200):
            client = served.connect()
            client.sendall(b"GET /ok HTTP/1.1\r\nHost: a\r\nX-Slow: ")
            open_ones.register(client, selectors.EVENT_READ)
        answers: list[bytes] = []
        ends = time.monotonic() + TIMEOUT_S
        with httpx.Client(base_url=f"http://127.0.0.1:{served.port}", timeout=TIMEOUT_S) as healthy:
            while open_ones.get_map():
                assert time.monotonic() < ends, f"{len(open_ones.get_map())} are still open"
                assert healthy.get("/ok").text == "ok"
                for key, _ in open_ones.select(0):
                    client: Any = key.fileobj
                    answers.append(rest_of(client))
                    open_ones.unregister(client)
                    client.close()
                for key in list(open_ones.get_map().values()):
                    trickling: Any = key.fileobj
                    with contextlib.suppress(ConnectionError):
                        trickling.sendall(b"a")
        assert served.cut == ["head_timeout"] * 200
        received = [
            answer for answer in answers if answer
        ]  # a byte on its way when a socket closes takes the answer along
        assert received
        for answer in received:
            assert error_of(answer, 408)["code"] == "head_timeout"


def test_a_client_that_says_nothing_is_closed_without_a_word(guarded: Any) -> None:
    with guarded(head_s=0.3) as served, served.connect() as client:
        assert rest_of(client) == b""
        assert served.cut == ["head_timeout"]


def test_the_second_request_of_a_connection_has_a_clock_too(guarded: Any) -> None:
    with guarded(head_s=1.0) as served, served.connect() as client:
        client.sendall(b"GET /ok HTTP/1.1\r\nHost: a\r\n\r\n")
        assert client.recv(17, socket.MSG_WAITALL) == b"HTTP/1.1 200 OK\r\n"
        served.wait_for(lambda: served.ended == 1)
        client.sendall(b"GET /ok HT")
        _, _, second = rest_of(client).partition(b"\r\n\r\nok")
        assert error_of(second, 408)["code"] == "head_timeout"
        assert served.cut == ["head_timeout"]


def test_a_request_may_take_longer_than_its_head(guarded: Any) -> None:
    with guarded(head_s=0.5, stall_s=0.5) as served, served.connect() as client:
        client.sendall(
            b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\nGET /slow HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
        )
        assert rest_of(client).count(b"HTTP/1.1 200") == 2
        assert served.cut == []


def test_a_body_that_nobody_reads_is_not_waited_for(guarded: Any) -> None:
    with guarded(head_s=1.0) as served, served.connect() as client:
        client.sendall(b"POST /ok HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n")
        assert client.recv(65536).startswith(b"HTTP/1.1 200")
        with contextlib.suppress(ConnectionError):
            for _ in range(int(TIMEOUT_S / 0.05)):
                client.sendall(b"x")
                time.sleep(0.05)
        assert served.cut == ["body_unread"]


def test_a_client_that_does_not_read_is_cut_off(guarded: Any) -> None:
    with guarded(stall_s=0.5) as served, served.connect(SO_RCVBUF=4096) as client:
        client.sendall(b"GET /big HTTP/1.1\r\nHost: a\r\n\r\n")
        served.wait_for(lambda: served.cut == ["answer_unread"])
        assert served.ended == 1
        assert len(rest_of(client)) < served.big


def test_a_slow_reader_that_moves_on_gets_everything(guarded: Any) -> None:
    stall_s = 2.0
    # The kernel's windows take several of loopback's packets: with fewer it, not this client, sets the pace.
    with guarded(stall_s=stall_s) as served, served.connect(SO_RCVBUF=256 * 1024) as client:
        client.sendall(b"GET /big HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        got = 0
        ends = time.monotonic() + 2.5 * stall_s
        while part := client.recv(128 * 1024):
            got += len(part)
            if slow := time.monotonic() < ends:
                assert got < served.big - 2**21, "the rest is with the kernel, and nobody waits for it"
                time.sleep(0.05)
        assert not slow
        assert got > served.big
        assert served.cut == []


def test_a_full_server_lets_newcomers_in_for_those_who_only_wait(guarded: Any) -> None:
    with guarded(maximum=10) as served, contextlib.ExitStack() as stack:
        waiting = stack.enter_context(served.connect())  # the oldest, but with a request
        waiting.sendall(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n")
        served.wait_for(lambda: served.waiting == 1)
        idle = [stack.enter_context(served.connect()) for _ in range(9)]
        with httpx.Client(base_url=f"http://127.0.0.1:{served.port}", timeout=TIMEOUT_S) as healthy:
            assert healthy.get("/ok").text == "ok"
        assert rest_of(idle[0]) == b""
        assert served.cut == ["too_many_connections"]
        assert served.waiting == 1


def test_a_server_full_of_requests_refuses(guarded: Any) -> None:
    with guarded(maximum=5) as served, contextlib.ExitStack() as stack:
        for _ in range(5):
            client = stack.enter_context(served.connect())
            client.sendall(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n")
        served.wait_for(lambda: served.waiting == 5)
        with served.connect() as late:
            late.sendall(b"GET /ok HTTP/1.1\r\nHost: a\r\n\r\n")
            answer = rest_of(late)
        assert error_of(answer, 503)["code"] == "too_many_connections"
        assert b"retry-after: 1" in answer.lower()
        assert served.waiting == 5
        stack.close()
        served.wait_for(lambda: served.waiting == 0)
        with served.connect() as client:
            client.sendall(b"GET /ok HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            assert rest_of(client).startswith(b"HTTP/1.1 200")


def test_probes_have_places_of_their_own(guarded: Any) -> None:
    with guarded(maximum=5, probes=frozenset({"/ok"})) as served, contextlib.ExitStack() as stack:
        for _ in range(5):
            trickling = stack.enter_context(served.connect())
            trickling.sendall(POST + b"Content-Length: 1000\r\n\r\n{")
        served.wait_for(lambda: served.reading == 5)
        silent = [stack.enter_context(served.connect()) for _ in range(100)]
        time.sleep(0.2)  # a burst may fill them; what has held one for longer gives way
        for _ in range(20):
            answer = exchange(served, b"GET /ok HTTP/1.1\r\nHost: a\r\n\r\n")
            assert answer.startswith(b"HTTP/1.1 200")
            assert b"connection: close" in answer
            assert (
                error_of(exchange(served, b"GET /big HTTP/1.1\r\nHost: a\r\n\r\n"), 503)["code"]
                == "too_many_connections"
            )
        assert served.reading == 5
        assert len(silent) == 100


def test_a_client_has_a_bound_of_its_own(guarded: Any) -> None:
    with guarded(maximum=10, per_client=4) as served, contextlib.ExitStack() as stack:
        for _ in range(4):
            client = stack.enter_context(served.connect())
            client.sendall(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n")
        served.wait_for(lambda: served.waiting == 4)
        assert error_of(exchange(served, OK), 503)["code"] == "too_many_connections"
        assert exchange(served, OK, source="127.0.0.2").startswith(b"HTTP/1.1 200")
        assert served.waiting == 4
        stack.close()
        served.wait_for(lambda: served.waiting == 0)
        idle = stack.enter_context(served.connect())
        for _ in range(3):
            stack.enter_context(served.connect())
        assert exchange(served, OK).startswith(b"HTTP/1.1 200")  # it may take its own idle ones for others
        assert rest_of(idle) == b""


def test_a_client_with_many_connections_gives_way_to_one_with_few(guarded: Any) -> None:
    with guarded(maximum=6) as served, contextlib.ExitStack() as stack:
        held = [stack.enter_context(served.connect()) for _ in range(6)]
        for one in held:
            one.sendall(POST + b"Content-Length: 1000\r\n\r\n{")
        served.wait_for(lambda: served.reading == 6)
        assert exchange(served, OK, source="127.0.0.2").startswith(b"HTTP/1.1 200")
        assert rest_of(held[0]) == b""
        assert served.reading == 5


def test_a_connection_may_rest_as_long_as_the_setting_says() -> None:
    for settings, seconds in ((Settings(), 75), (Settings(keep_alive_s=600), 600)):
        assert http_options(create_app(settings), settings).timeout_keep_alive == seconds
