"""Work that is refused before its body is read."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from flashu_core import Task
from server.errors import OverloadedError, UnavailableError
from server.middleware.overload import WORK_PATHS, Overload
from server.middleware.priorities import Priorities


class Gate:
    """Full for the tasks that it names, below a priority."""

    def __init__(self, **full: int) -> None:
        self.full = full
        self.requested: list[tuple[Task, int]] = []

    def check_open(self, task: Task, priority: int) -> None:
        self.requested.append((task, priority))
        if priority >= self.full.get(task, 101):
            raise OverloadedError("the request would wait", retry_after=9 if task == "generate" else 4)


async def status_of(gate: Any, path: str, method: str = "POST", **options: Any) -> tuple[int, dict[bytes, bytes]]:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def receive() -> Any:
        raise AssertionError("the body is read")

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    overload = Overload(app, gate=gate, priorities=Priorities(**options), tasks=WORK_PATHS)
    await overload({"type": "http", "method": method, "path": path, "headers": []}, receive, send)
    return sent[0]["status"], dict(sent[0]["headers"])


async def test_what_the_path_decides_is_refused_unread() -> None:
    gate = Gate(generate=0)
    status, headers = await status_of(gate, "/v1/generate")
    assert (status, headers[b"retry-after"]) == (503, b"9")
    assert (await status_of(gate, "/v1/vqa"))[0] == 200
    for path in ("/v1/infer", "/v1/chat/completions"):
        assert (await status_of(gate, path))[0] == 200  # it may be a question
        status, headers = await status_of(Gate(generate=0, vqa=0), path)
        assert (status, headers[b"retry-after"]) == (503, b"4")
    assert (await status_of(gate, "/v1/generate", "OPTIONS"))[0] == 200
    assert (await status_of(gate, "/v1/models", "GET"))[0] == 200


async def test_the_best_priority_that_a_key_may_have_decides() -> None:
    gate = Gate(generate=0)
    assert (await status_of(gate, "/v1/generate", minimum=-5))[0] == 200
    assert gate.requested == [("generate", -5)]


async def test_a_server_that_is_not_ready_reads_nothing() -> None:
    class Loading:
        def check_open(self, task: Task, priority: int) -> None:
            raise UnavailableError("loading")

    assert (await status_of(Loading(), "/v1/vqa"))[0] == 503


def receive_until(connection: socket.socket, *words: bytes) -> bytes:
    """What the server sends until all the words have come."""
    received = b""
    while not all(word in received for word in words):
        received += (more := connection.recv(65536))
        assert more, received
    return received


@pytest.mark.parametrize("length", [30, 3_000_000])
def test_a_connection_goes_on_behind_a_refusal(toy: Any, serving: Any, length: int) -> None:
    """The refusal comes before the body is sent, which is then read and dropped, and the connection is as before."""
    engine = toy()
    with serving(engine, max_queue=0) as live:
        live.wait_until_ready()
        engine.hold()
        body = b'{"prompt": "a"}'
        head = (
            "POST /v1/generate HTTP/1.1\r\nHost: localhost\r\n"
            "Content-Type: application/json\r\nContent-Length: {}\r\n\r\n"
        )
        with socket.create_connection(("127.0.0.1", live.port), timeout=60) as holding:
            holding.sendall(head.format(len(body)).encode() + body)
            live.wait_for(lambda: live.worker.running == 1)
            with socket.create_connection(("127.0.0.1", live.port), timeout=60) as connection:
                connection.sendall(head.format(length).encode())
                assert b"retry-after: 1\r\n" in receive_until(connection, b"HTTP/1.1 503", b"queue_full")
                connection.sendall(b" " * length + b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
                receive_until(connection, b"HTTP/1.1 200", b"alive")
            engine.release()
        assert live.metric('flashu_rejected_total{reason="queue_full"}') == 1
