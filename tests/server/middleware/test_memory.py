"""What hostile bodies cost the front end, which runs in a process of its own here, so that its memory is not the
tests': peaks stay within bounds, and other clients are answered meanwhile."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from load_tests.acceptance.hostile import png, text_bomb

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
PROGRAM = """
import sys
from server.app import run
from server.settings import Settings
run(Settings(port=0, body_timeout_s=2.0, max_body_memory_mib=64, hang_timeout_s=600), program=sys.argv[1:])
"""
MIB = 2**20
JSON = "Content-Type: application/json\r\n"
FORM = "Content-Type: multipart/form-data; boundary=a\r\n"


@dataclass(frozen=True)
class Alone:
    """A front end in its own process, and its engine."""

    engine: Any
    pid: int
    port: int

    def memory(self, name: str) -> int:
        """Bytes of resident memory: `VmRSS` now, `VmHWM` at most since the last reset."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        found = re.search(rf"{name}:\s+(\d+) kB", status)
        assert found
        return int(found[1]) * 1024

    @contextlib.contextmanager
    def costs_less_than(self, size: int) -> Iterator[None]:
        """Fails where the peak grows by more bytes meanwhile, or where another client is not answered."""
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")  # resets the peak
        before = self.memory("VmRSS")
        end, answered = threading.Event(), [0]

        def look() -> None:
            with httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=60) as client:
                while not end.is_set() or not answered[0]:
                    assert client.get("/livez").status_code == 200
                    answered[0] += 1

        looking = threading.Thread(target=look)
        looking.start()
        try:
            yield
        finally:
            end.set()
            looking.join(60)
        assert answered[0] > 0
        grown = self.memory("VmHWM") - before
        assert grown <= size, f"the front end grew by {grown / MIB:.0f} MiB"

    def send(self, head: str, pieces: Iterator[bytes]) -> int:
        """The status of a request to /v1/vqa whose body is sent for as long as the server takes it."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=60) as client:
            client.sendall(f"POST /v1/vqa HTTP/1.1\r\nHost: a\r\n{head}\r\n".encode())
            answer = b""
            with contextlib.suppress(ConnectionError):
                for piece in pieces:
                    if select.select([client], [], [], 0)[0]:
                        break
                    client.sendall(piece)
            with contextlib.suppress(ConnectionError):
                answer = client.recv(65536)
            found = re.match(rb"HTTP/1\.1 (\d+) ", answer)
            assert found, answer
            return int(found[1])

    def post(self, data: bytes, head: str) -> int:
        return self.send(f"{head}Content-Length: {len(data)}\r\n", iter([data]))


@pytest.fixture(scope="module")
def alone(toy: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Alone]:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3]), "PYTHONUNBUFFERED": "1"}
    log = tmp_path_factory.mktemp("alone") / "log"
    engine = toy()
    command = [sys.executable, "-c", PROGRAM, *engine.program]
    with (
        log.open("w") as file,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=file, text=True, env=environment) as process,
    ):
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            ready = re.fullmatch(r"toy is ready on http://127\.0\.0\.1:(\d+)\n", line)
            assert ready, line + log.read_text()
            found = Alone(engine, process.pid, int(ready[1]))
            # What is imported and kept at the first of each kind is no growth.
            warm = json.dumps({"question": "a", "image": base64.b64encode(picture(64, 64)).decode()})
            assert found.post(warm.encode(), JSON) == 200
            assert found.post(b"--a\r\n\r\nx\r\n--a--\r\n", FORM) == 400
            yield found
        finally:
            process.terminate()


def chunks(piece: bytes) -> Iterator[bytes]:
    """Chunks without end."""
    while True:
        yield f"{len(piece):x}\r\n".encode() + piece + b"\r\n"


def endless(piece: bytes) -> Iterator[bytes]:
    while True:
        yield piece


FILE = b'--a\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n'
FIELD = b'--a\r\nContent-Disposition: form-data; name="q"\r\n\r\nx\r\n'
BLOCK = b"x" * 65536


def first(piece: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield f"{len(piece):x}\r\n".encode() + piece + b"\r\n"
    yield from rest


@pytest.mark.parametrize(
    ("head", "pieces", "statuses"),
    [
        (JSON + "Content-Length: 1000000000\r\n", lambda: endless(BLOCK), {413}),
        (FORM + "Content-Length: 1000000000\r\n", lambda: endless(BLOCK), {413}),
        (JSON + "Transfer-Encoding: chunked\r\n", lambda: chunks(BLOCK), {413}),
        (JSON + "Transfer-Encoding: chunked\r\n", lambda: chunks(b"x"), {400}),
        (FORM + "Transfer-Encoding: chunked\r\n", lambda: first(FILE, chunks(BLOCK)), {413}),
        (FORM + "Transfer-Encoding: chunked\r\n", lambda: chunks(FIELD), {400}),
    ],
    ids=["gigabyte", "gigabyte-form", "chunked", "single-bytes", "chunked-file", "chunked-fields"],
)
def test_bodies_without_end(head: str, pieces: Callable[[], Iterator[bytes]], statuses: set[int], alone: Alone) -> None:
    with alone.costs_less_than(50 * MIB):
        assert alone.send(head, pieces()) in statuses


@pytest.mark.parametrize(
    ("data", "head"),
    [
        (b"[" * 100_000, JSON),
        (b'{"question":' * 100_000, JSON),
        (b'{"question":"a","image":' + b"[" * 100_000 + b"]" * 100_000 + b"}", JSON),
        (b"[" + b"[]," * 5_000_000 + b"[]]", JSON),
        (b'{"question":"a","seed":' + b"9" * 10_000_000 + b"}", JSON),
        (b"{" + b",".join(b'"%d":1' % n for n in range(99_000)) + b"}", JSON),
        (b'{"question":"a","acceleration":{' + b",".join(b'"X%d" : 1' % n for n in range(99_000)) + b"}}", JSON),
        (FIELD * 10_000 + b"--a--\r\n", FORM),
        ((FILE + b"x\r\n") * 10_000 + b"--a--\r\n", FORM),
    ],
    ids=[
        "lists",
        "objects",
        "deep-value",
        "many-values",
        "long-number",
        "many-names",
        "many-inner-names",
        "parts",
        "files",
    ],
)
def test_bodies_that_are_much_when_read(data: bytes, head: str, alone: Alone) -> None:
    with alone.costs_less_than(50 * MIB):
        assert alone.post(data, head) == 400


def test_bodies_that_never_end_hold_no_more_than_all_may(alone: Alone) -> None:
    """Sixteen of 19 MB, where all may hold 64 MiB; others are served beside them, and the memory comes back."""
    part = b'{"question":"' + b"x" * (19 * 10**6)
    head = f"POST /v1/vqa HTTP/1.1\r\nHost: a\r\n{JSON}Content-Length: {len(part) + 1}\r\n\r\n".encode()
    file = FILE + b"x" * (3 * 10**6) + b"\r\n--a--\r\n"
    before = alone.memory("VmRSS")
    with alone.costs_less_than(130 * MIB), contextlib.ExitStack() as stack, ThreadPoolExecutor(16) as pool:
        clients = [stack.enter_context(socket.create_connection(("127.0.0.1", alone.port), 60)) for _ in range(16)]

        def send(client: socket.socket) -> None:
            with contextlib.suppress(ConnectionError):
                client.sendall(head + part)

        sent = [pool.submit(send, client) for client in clients]
        for _ in range(5):
            assert alone.post(file, FORM) == 400, "it was read, and found to be no picture"
        for one in sent:
            one.result()
        refused = 0
        for client in clients:
            with contextlib.suppress(ConnectionError):
                refused += client.recv(65536).startswith(b"HTTP/1.1 503")
        assert refused > 0
    ends = time.monotonic() + 60
    while (left := alone.memory("VmRSS") - before) > 32 * MIB:
        assert time.monotonic() < ends, f"{left / MIB:.0f} MiB are kept"
        time.sleep(0.1)


def picture(width: int, height: int) -> bytes:
    """A black one."""
    return png(width, height, (b"\0" * (1 + 3 * width)) * height)


@pytest.mark.parametrize(
    "make",
    [
        lambda: png(30_000, 30_000, b"\0" * 300_000_000),
        lambda: png(4_001, 4_000, b"\0" * 300_000_000),
        lambda: png(100, 100, b"\0" * 300_000_000),
        lambda: text_bomb(b"zTXt"),
        lambda: text_bomb(b"iTXt"),
    ],
    ids=["30000x30000", "just-over", "more-than-declared", "zTXt", "iTXt"],
)
def test_pictures_that_are_much_when_read(make: Callable[[], bytes], alone: Alone) -> None:
    encoded = base64.b64encode(make()).decode()
    body = json.dumps({"question": "a", "image": encoded}).encode()
    with alone.costs_less_than(100 * MIB):
        for _ in range(3):
            assert alone.post(body, JSON) in (200, 400)


def test_pictures_that_wait_are_small(alone: Alone) -> None:
    """Ten of 48 MB each, sent as some kilobytes, are inside or in the queue at once."""
    body = json.dumps({"question": "a", "image": base64.b64encode(picture(4000, 4000)).decode()}).encode()
    alone.engine.hold()
    before = alone.memory("VmRSS")
    with ThreadPoolExecutor(10) as pool, httpx.Client(base_url=f"http://127.0.0.1:{alone.port}") as client:
        try:
            answers = [pool.submit(alone.post, body, JSON) for _ in range(10)]
            ends = time.monotonic() + 60
            load = {"running": 0, "waiting": 0}
            while load["running"] + load["waiting"] < 10:
                assert time.monotonic() < ends
                load = client.get("/health").json()
            held = alone.memory("VmRSS") - before
        finally:
            alone.engine.release()
        assert [answer.result() for answer in answers] == [200] * 10
    assert held < 250 * MIB, f"{held / MIB:.0f} MiB"
