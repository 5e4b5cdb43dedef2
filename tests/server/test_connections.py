"""Clients that are slow on purpose, over real sockets, and those who are not."""

from __future__ import annotations

import asyncio
import contextlib
import json
import selectors
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
import uvicorn

from server.app import create_app, http_options
from server.connections import ConnectionLimits, guarded_protocol
from server.settings import Settings

PATIENCE_S = 60.0
BIG = 24 * 2**20
EVENTS = 20_000


@dataclass
class Served:
    """A server with three routes, and what it has cut off."""

    port: int
    cut: list[str] = field(default_factory=list)
    waiting: int = 0
    reading: int = 0
    ended: int = 0

    def connect(self, source: str = "127.0.0.1", **options: int) -> socket.socket:
        client = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        for name, value in options.items():
            client.setsockopt(socket.SOL_SOCKET, getattr(socket, name), value)
        client.settimeout(PATIENCE_S)
        client.bind((source, 0))
        client.connect(("127.0.0.1", self.port))
        return client

    def wait_for(self, condition: Callable[[], bool]) -> None:
        ends = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < ends, "it did not happen in time"
            time.sleep(0.01)

    async def length(self, receive: Any) -> int:
        """Bytes of a body."""
        length = 0
        self.reading += 1
        try:
            while True:
                message = await receive()
                length += len(message.get("body", b""))
                if not message.get("more_body"):
                    return length
        finally:
            self.reading -= 1

    async def app(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/wait":
            self.waiting += 1
            while (await receive())["type"] != "http.disconnect":
                pass
            self.waiting -= 1
        if scope["path"] == "/slow":
            await asyncio.sleep(1.5)
        body = b"x" * BIG if scope["path"] == "/big" else b"ok"
        if scope["path"] == "/events":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            for index in range(EVENTS):
                await send({"type": "http.response.body", "body": b"data: %05d\n\n" % index, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
            self.ended += 1
            return
        if scope["path"] == "/read":
            body = str(await self.length(receive)).encode()
        headers = [(b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})
        self.ended += 1


@contextlib.contextmanager
def serving(**limits: Any) -> Iterator[Served]:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 64 * 1024)  # so that much stays with the server
        listening.bind(("127.0.0.1", 0))
        listening.listen(512)
        served = Served(listening.getsockname()[1])
        http = guarded_protocol(ConnectionLimits(**limits), served.cut.append)
        options = uvicorn.Config(
            served.app,
            interface="asgi3",
            http=http,
            loop="asyncio",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
        )
        server = uvicorn.Server(options)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            served.wait_for(lambda: server.started)
            yield served
        finally:
            server.should_exit = server.force_exit = True
            thread.join(PATIENCE_S)
            assert not thread.is_alive()


def rest_of(client: socket.socket) -> bytes:
    """All that comes until the server closes."""
    parts = []
    with contextlib.suppress(ConnectionError):
        while part := client.recv(65536):
            parts.append(part)
    return b"".join(parts)


def error_of(answer: bytes, status: int) -> dict[str, Any]:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(f"HTTP/1.1 {status}".encode()), answer
    assert b"connection: close" in head.lower()
    error: dict[str, Any] = json.loads(body)["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return error


def test_two_hundred_trickling_clients_are_cut_off_while_one_is_served() -> None:
    with serving(head_s=1.0) as served, selectors.DefaultSelector() as open_ones:
        for _ in range(200):
            client = served.connect()
            client.sendall(b"GET /ok HTTP/1.1\r\nHost: a\r\nX-Slow: ")
            open_ones.register(client, selectors.EVENT_READ)
        answers: list[bytes] = []
        ends = time.monotonic() + PATIENCE_S
        with httpx.Client(base_url=f"http://127.0.0.1:{served.port}", timeout=PATIENCE_S) as healthy:
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
        told = [answer for answer in answers if answer]  # a byte on its way when a socket closes takes the answer along
        assert told
        for answer in told:
            assert error_of(answer, 408)["code"] == "head_timeout"


def test_a_client_that_says_nothing_is_closed_without_a_word() -> None:
    with serving(head_s=0.3) as served, served.connect() as client:
        assert rest_of(client) == b""
        assert served.cut == ["head_timeout"]


def test_the_second_request_of_a_connection_has_a_clock_too() -> None:
    with serving(head_s=1.0) as served, served.connect() as client:
        client.sendall(b"GET /ok HTTP/1.1\r\nHost: a\r\n\r\n")
        assert client.recv(17, socket.MSG_WAITALL) == b"HTTP/1.1 200 OK\r\n"
        served.wait_for(lambda: served.ended == 1)
        client.sendall(b"GET /ok HT")
        _, _, second = rest_of(client).partition(b"\r\n\r\nok")
        assert error_of(second, 408)["code"] == "head_timeout"
        assert served.cut == ["head_timeout"]


def test_a_request_may_take_longer_than_its_head() -> None:
    with serving(head_s=0.5, stall_s=0.5) as served, served.connect() as client:
        client.sendall(
            b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\nGET /slow HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
        )
        assert rest_of(client).count(b"HTTP/1.1 200") == 2
        assert served.cut == []


def test_a_body_that_nobody_reads_is_not_waited_for() -> None:
    with serving(head_s=1.0) as served, served.connect() as client:
        client.sendall(b"POST /ok HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n")
        assert client.recv(65536).startswith(b"HTTP/1.1 200")
        with contextlib.suppress(ConnectionError):
            for _ in range(int(PATIENCE_S / 0.05)):
                client.sendall(b"x")
                time.sleep(0.05)
        assert served.cut == ["body_unread"]


def test_a_client_that_does_not_read_is_cut_off() -> None:
    with serving(stall_s=0.5) as served, served.connect(SO_RCVBUF=4096) as client:
        client.sendall(b"GET /big HTTP/1.1\r\nHost: a\r\n\r\n")
        served.wait_for(lambda: served.cut == ["answer_unread"])
        assert served.ended == 1
        assert len(rest_of(client)) < BIG


def test_a_slow_reader_that_moves_on_gets_everything() -> None:
    stall_s = 2.0
    # The kernel's windows take several of loopback's packets: with fewer it, not this client, sets the pace.
    with serving(stall_s=stall_s) as served, served.connect(SO_RCVBUF=256 * 1024) as client:
        client.sendall(b"GET /big HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        got = 0
        ends = time.monotonic() + 2.5 * stall_s
        while part := client.recv(128 * 1024):
            got += len(part)
            if slow := time.monotonic() < ends:
                assert got < BIG - 2**21, "the rest is with the kernel, and nobody waits for it"
                time.sleep(0.05)
        assert not slow
        assert got > BIG
        assert served.cut == []


def test_a_full_server_lets_newcomers_in_for_those_who_only_wait() -> None:
    with serving(most=10) as served, contextlib.ExitStack() as stack:
        waiting = stack.enter_context(served.connect())  # the oldest, but with a request
        waiting.sendall(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n")
        served.wait_for(lambda: served.waiting == 1)
        idle = [stack.enter_context(served.connect()) for _ in range(9)]
        with httpx.Client(base_url=f"http://127.0.0.1:{served.port}", timeout=PATIENCE_S) as healthy:
            assert healthy.get("/ok").text == "ok"
        assert rest_of(idle[0]) == b""
        assert served.cut == ["too_many_connections"]
        assert served.waiting == 1


def test_a_server_full_of_requests_refuses() -> None:
    with serving(most=5) as served, contextlib.ExitStack() as stack:
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


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"GET /ok HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n",
        b"GET /ok HTTP/1.1\r\nHost: a\r\nA: " + b"x" * 100_000,
        b"GET /secret canary HTTP/1.1\r\nHost: a\r\n\r\n",
    ],
)
def test_what_is_no_http_gets_the_one_error_body(sent: bytes) -> None:
    with serving() as served, served.connect() as client:
        client.sendall(sent)
        answer = rest_of(client)
        if answer:  # with more unread than we sent, the socket may be reset before the answer is read
            assert error_of(answer, 400)["code"] == "malformed_request"
            assert b"canary" not in answer
        else:
            assert len(sent) > 65536


POST = b"POST /read HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
OK = b"GET /ok HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


def chunks(size: int, count: int) -> bytes:
    return (b"%x\r\n" % size + b"A" * size + b"\r\n") * count


def ask(served: Served, sent: bytes, source: str = "127.0.0.1") -> bytes:
    with served.connect(source) as client:
        with contextlib.suppress(ConnectionError):
            client.sendall(sent)
        return rest_of(client)


@pytest.mark.parametrize(("size", "count"), [(1, 1000), (20, 5000), (200, 500), (100_000, 20)])
def test_chunks_of_a_reasonable_size_are_read(size: int, count: int) -> None:
    with serving() as served:
        answer = ask(served, CHUNKED + chunks(size, count) + b"0\r\n\r\n")
        assert answer.endswith(b"\r\n\r\n%d" % (size * count)), answer
        assert served.cut == []


def test_a_body_in_crumbs_is_refused() -> None:
    with serving() as served:
        answer = ask(
            served, CHUNKED + chunks(1, 5000)
        )  # no more than the kernel takes, so that no reset takes the answer
        assert "16 bytes on average" in error_of(answer, 400)["message"]
        assert served.cut == ["chunks_too_small"]


@pytest.mark.parametrize("piece", [chunks(1, 20_000), chunks(17, 5_000), b"A"])
def test_eight_senders_of_crumbs_leave_the_loop_to_others(piece: bytes) -> None:
    with serving() as served:
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
                assert ask(served, OK).startswith(b"HTTP/1.1 200")
                assert time.monotonic() - begun < 5  # it was ten and more
        finally:
            end.set()
            for one in attackers:
                one.join(PATIENCE_S)


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
def test_heads_that_others_may_read_in_another_way(head: bytes, status: int, code: str) -> None:
    with serving() as served:
        sent = POST + head + b"\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
        answer = ask(served, sent)
        assert error_of(answer, status)["code"] == code
        assert answer.count(b"HTTP/1.1 ") == 1
        assert served.ended == 0


def test_a_length_of_its_own_in_http_1_0() -> None:
    with serving() as served:
        answer = ask(served, b"POST /read HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nA\r\n0\r\n\r\n")
        assert error_of(answer, 400)["code"] == "ambiguous_length"


def test_a_head_that_comes_at_once_has_the_same_limit() -> None:
    with serving() as served:
        answer = ask(served, b"GET /ok HTTP/1.1\r\nHost: a\r\n" + b"A: b\r\n" * 8000 + b"\r\n")
        assert answer == b"" or error_of(answer, 400)["code"] == "malformed_request"
        assert served.ended == 0


@pytest.mark.parametrize("late", [b"", b"G", OK, b"x" * 100_000, OK * 500], ids=len)
@pytest.mark.parametrize("reset", [False, True])
def test_whoever_leaves_is_missed_whatever_came_behind_the_request(late: bytes, reset: bool) -> None:
    with serving() as served, served.connect() as client:
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


def test_probes_have_places_of_their_own() -> None:
    with serving(most=5, probes=frozenset({"/ok"})) as served, contextlib.ExitStack() as stack:
        for _ in range(5):
            trickling = stack.enter_context(served.connect())
            trickling.sendall(POST + b"Content-Length: 1000\r\n\r\n{")
        served.wait_for(lambda: served.reading == 5)
        silent = [stack.enter_context(served.connect()) for _ in range(100)]
        time.sleep(0.2)  # a burst may fill them; what has held one for longer gives way
        for _ in range(20):
            answer = ask(served, b"GET /ok HTTP/1.1\r\nHost: a\r\n\r\n")
            assert answer.startswith(b"HTTP/1.1 200")
            assert b"connection: close" in answer
            assert error_of(ask(served, b"GET /big HTTP/1.1\r\nHost: a\r\n\r\n"), 503)["code"] == "too_many_connections"
        assert served.reading == 5
        assert len(silent) == 100


def test_a_client_has_a_bound_of_its_own() -> None:
    with serving(most=10, per_client=4) as served, contextlib.ExitStack() as stack:
        for _ in range(4):
            client = stack.enter_context(served.connect())
            client.sendall(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n")
        served.wait_for(lambda: served.waiting == 4)
        assert error_of(ask(served, OK), 503)["code"] == "too_many_connections"
        assert ask(served, OK, source="127.0.0.2").startswith(b"HTTP/1.1 200")
        assert served.waiting == 4
        stack.close()
        served.wait_for(lambda: served.waiting == 0)
        idle = stack.enter_context(served.connect())
        for _ in range(3):
            stack.enter_context(served.connect())
        assert ask(served, OK).startswith(b"HTTP/1.1 200")  # it may take its own, that rest, for others
        assert rest_of(idle) == b""


def test_who_holds_most_gives_way_to_who_holds_less() -> None:
    with serving(most=6) as served, contextlib.ExitStack() as stack:
        held = [stack.enter_context(served.connect()) for _ in range(6)]
        for one in held:
            one.sendall(POST + b"Content-Length: 1000\r\n\r\n{")
        served.wait_for(lambda: served.reading == 6)
        assert ask(served, OK, source="127.0.0.2").startswith(b"HTTP/1.1 200")
        assert rest_of(held[0]) == b""
        assert served.reading == 5


def test_events_read_byte_by_byte_keep_nobody_waiting() -> None:
    with serving() as served, contextlib.ExitStack() as stack:
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
            assert ask(served, OK).startswith(b"HTTP/1.1 200")
            assert time.monotonic() - begun < 5
        end.set()
        for one in threads:
            one.join(PATIENCE_S)
        assert served.cut == []


def test_a_connection_may_rest_as_long_as_the_setting_says() -> None:
    for settings, seconds in ((Settings(), 75), (Settings(keep_alive_s=600), 600)):
        assert http_options(create_app(settings), settings).timeout_keep_alive == seconds
