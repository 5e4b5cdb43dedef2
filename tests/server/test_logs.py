"""What is written about requests, and above all what is not."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import logging
import os
import socket
import struct
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from PIL import Image

from flashu_core import ConfigurationError
from server.logs import BackgroundHandler, JsonLines, TextLines, configure_logging

KEY = "sk-canary-key-4711"
WORD = "canaryprompt"
BEARER = {"authorization": f"Bearer {KEY}"}


class Lines(io.StringIO):
    """A log in memory."""

    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.getvalue().splitlines()]

    def requests(self) -> list[dict[str, Any]]:
        return [event for event in self.events() if event["logger"] == "flashu.request"]


@pytest.fixture
def restored() -> Iterator[None]:
    """Logging is the process's: it is put back as it was."""
    loggers = [logging.getLogger(name) for name in (None, "flashu", "uvicorn", "uvicorn.access")]
    before = [(logger.handlers[:], logger.level, logger.propagate) for logger in loggers]
    yield
    for logger, (handlers, level, propagate) in zip(loggers, before, strict=True):
        logger.handlers[:] = handlers
        logger.setLevel(level)
        logger.propagate = propagate


@pytest.fixture
def log(restored: None) -> Lines:
    lines = Lines()
    configure_logging("info", "json", stream=lines)
    return lines


def record(message: str = "hello", name: str = "flashu.server", **more: Any) -> logging.LogRecord:
    made = logging.LogRecord(name, logging.INFO, "a.py", 1, message, (), more.pop("exc_info", None))
    for attribute, value in more.items():
        setattr(made, attribute, value)
    return made


def failure() -> Any:
    try:
        try:
            raise ConfigurationError("skip_ratio is 2; use at most 1")
        except ConfigurationError as error:
            raise ValueError(f"cannot parse {WORD}") from error
    except ValueError as error:
        return (type(error), error, error.__traceback__)


def test_json_lines() -> None:
    line = JsonLines().format(record("two\nlines", fields={"status": 200, "key": None}))
    assert "\n" not in line
    event = json.loads(line)
    assert (event["message"], event["level"], event["status"], event["key"]) == ("two\nlines", "info", 200, None)
    assert event["time"].endswith("Z")
    assert len(event["time"]) == 24


def test_exceptions_are_types_and_places_with_the_words_of_our_own_only() -> None:
    event = json.loads(JsonLines().format(record(exc_info=failure())))
    outer, inner = event["exceptions"]
    assert (outer["type"], "message" in outer) == ("builtins.ValueError", False)
    assert outer["frames"][0].startswith("server/test_logs.py:")
    assert outer["frames"][0].endswith(" in failure")
    assert inner["message"] == "skip_ratio is 2; use at most 1"
    assert WORD not in TextLines().format(record(exc_info=failure()))
    assert "skip_ratio is 2" in TextLines().format(record(exc_info=failure()))
    assert WORD in TextLines(messages=True).format(record(exc_info=failure()))
    assert WORD in JsonLines(messages=True).format(record(exc_info=failure()))


def test_text_lines() -> None:
    line = TextLines().format(record("request", fields={"status": 200, "key": None, "route": "/v1/vqa"}))
    assert line.endswith(" INFO flashu.server: request status=200 route=/v1/vqa")


def test_libraries_log_from_warnings_on_and_asyncio_without_its_words(log: Lines) -> None:
    configure_logging("debug", "json", stream=log)
    logging.getLogger("PIL.TiffImagePlugin").debug("value: %s", WORD)
    logging.getLogger("python_multipart").info(WORD)
    logging.getLogger("flashu.worker").debug("ours")

    async def lose() -> None:
        raise ValueError(WORD)

    async def main() -> None:
        asyncio.get_running_loop().create_task(lose())  # nobody awaits it, on purpose
        await asyncio.sleep(0.01)

    configure_logging("info", "json", stream=log)
    asyncio.run(main())
    messages = [event["message"] for event in log.events()]
    assert messages == ["ours", "Task exception was never retrieved"]
    assert WORD not in log.getvalue()


def picture(word: str = WORD) -> bytes:
    """A picture with a word in its metadata."""
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_text("comment", word)
    file = io.BytesIO()
    Image.new("RGB", (20, 10), (1, 2, 3)).save(file, "PNG", pnginfo=info)
    return file.getvalue()


def test_a_line_for_each_request(toy: Any, serving: Any, log: Lines) -> None:
    with serving(toy(), api_keys=f"alice:{KEY}") as live:
        live.wait_for(lambda: live.client.get("/readyz").status_code == 200)
        headers = {**BEARER, "x-request-id": "abc"}
        live.client.post("/v1/generate", json={"prompt": WORD, "n": 2}, headers=headers)
        requested = {"question": WORD, "image": base64.b64encode(picture()).decode()}
        live.client.post("/v1/vqa", json=requested, headers=BEARER)
        live.client.get(f"/v1/{WORD}?{WORD}={KEY}", headers=BEARER)
        live.client.request(WORD.upper(), "/v1/models", headers=BEARER)
        live.client.get("/v1/models")
        live.wait_for(lambda: len(log.requests()) == 5)
    generated, answered, lost, odd, stranger = log.requests()
    assert (generated["request_id"], generated["key"], generated["method"], generated["route"]) == (
        "abc",
        "alice",
        "POST",
        "/v1/generate",
    )
    assert (generated["status"], generated["task"], generated["policy"]) == (200, "generate", "flashu")
    assert (generated["evaluations"], generated["tokens"], answered["tokens"]) == (8, None, 4)
    assert 0 <= generated["queue_ms"] / 1000 <= generated["seconds"]
    assert (answered["task"], answered["route"]) == ("vqa", "/v1/vqa")
    assert (lost["status"], lost["route"]) == (404, None)
    assert (odd["status"], odd["method"]) == (405, "OTHER")
    assert (stranger["status"], stranger["key"], stranger["route"]) == (401, None, "/v1/models")
    assert (stranger["error"], generated["error"]) == ("invalid_api_key", None)


def send_raw(port: int, data: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=30) as client:
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)
        answer = b""
        while part := client.recv(65536):
            answer += part
        return answer


def failures(client: httpx.Client, port: int) -> Iterator[tuple[int, bytes]]:
    """Every kind of failure with a word, a key and a picture of ours in it: the status expected and what came back."""
    encoded = base64.b64encode(picture()).decode()
    long = f"{WORD} " * 300

    def post(path: str, status: int, **options: Any) -> tuple[int, bytes]:
        headers = {**BEARER, **options.pop("headers", {})}
        response = client.post(path, headers=headers, **options)
        assert response.status_code == status, (path, response.text)
        return status, response.content + repr(response.headers).encode()

    for body in ({WORD: 1}, {"prompt": [WORD]}, {"prompt": WORD, "size": WORD}, {"prompt": WORD, "acceleration": WORD}):
        yield post("/v1/generate", 400, json=body)
    yield post("/v1/generate", 400, json={"prompt": WORD, "acceleration": {"policy": "exact", "ffn": 1e300}})
    yield post("/v1/generate", 400, json={"prompt": long})
    yield post("/v1/generate", 400, content=f'{{"prompt": "{WORD}', headers={"content-type": "application/json"})
    yield post("/v1/generate", 415, content=WORD, headers={"content-type": f"text/{WORD}"})
    yield post("/v1/generate", 413, json={"prompt": WORD * 200_000})
    yield post("/v1/generate", 500, json={"prompt": "refuse", "negative_prompt": WORD})
    yield post("/v1/generate", 504, json={"prompt": WORD, "num_inference_steps": 1000, "timeout_s": 0.05})
    for image in (
        encoded[:-40],
        WORD,
        f"http://{WORD}/{KEY}",
        f"data:image/{WORD},{WORD}",
        "data:image/png;base64,AAAA",
    ):
        yield post("/v1/vqa", 400, json={"question": WORD, "image": image})
    yield post("/v1/vqa", 400, data={"question": WORD}, files={WORD: (WORD, picture(), WORD)})
    yield post("/v1/vqa", 400, data={"question": WORD}, files={"image": (f"{WORD}.png", picture()[:60], "image/png")})
    yield post(f"/v1/{WORD}/{KEY}?{WORD}={KEY}", 404, json={"prompt": WORD})
    yield post(f"/livez?{WORD}", 405, json={"prompt": WORD})
    response = client.post("/v1/generate", json={"prompt": WORD}, headers={"authorization": f"Bearer wrong-{KEY}"})
    yield 401, response.content
    answer = send_raw(port, f"GET /{WORD} {KEY} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 400")
    yield 400, answer


@pytest.mark.parametrize("log_format", ["json", "text"])
def test_nothing_of_a_clients_is_written(log_format: Any, toy: Any, serving: Any, restored: None) -> None:
    lines = Lines()
    configure_logging("info", log_format, stream=lines)
    canaries = [KEY, WORD, WORD.upper(), base64.b64encode(picture()).decode()[40:80], "canary", "comment"]
    with serving(toy(step_s=0.002), api_keys=KEY, max_body_bytes=2**20) as live:
        live.wait_for(lambda: live.client.get("/readyz").status_code == 200)
        good = live.client.post("/v1/generate", json={"prompt": WORD}, headers={**BEARER, "x-request-id": "a b"})
        assert good.status_code == 200
        statuses = set()
        for status, shown in failures(live.client, live.port):
            statuses.add(status)
            for canary in canaries:
                assert canary.encode() not in shown, (status, shown)
        assert statuses == {400, 401, 404, 405, 413, 415, 500, 504}
        with socket.create_connection(("127.0.0.1", live.port)) as client:  # one who resets in the middle
            head = f"POST /v1/generate?{WORD} HTTP/1.1\r\nHost: {WORD}\r\nAuthorization: Bearer {KEY}\r\n"
            client.sendall(f"{head}Content-Type: application/json\r\nContent-Length: 99\r\n\r\n{WORD}".encode())
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        live.wait_for(lambda: live.metric('flashu_requests_total{policy="",status="499",task="generate"}') == 1)
        metrics = live.client.get("/metrics").text
    written = lines.getvalue()
    assert written.count("flashu.request") > 20
    for canary in canaries:
        assert canary not in written
        assert canary not in metrics


def test_what_was_refused_before_its_route_is_logged_with_it(toy: Any, serving: Any, log: Lines) -> None:
    with serving(toy(), api_keys=KEY, rate_limit="1/day") as live:
        live.wait_until_ready()
        posts = [
            ("/v1/generate/?a=1", {}, 401),
            ("/v1/vqa", BEARER, 400),
            ("/v1/vqa", BEARER, 429),
            (f"/{WORD}", {}, 401),
        ]
        for path, headers, status in posts:
            assert live.client.post(path, headers=headers, json=[]).status_code == status
    logged = [(line["route"], line["status"]) for line in log.requests()]
    assert logged == [("/v1/generate", 401), ("/v1/vqa", 400), ("/v1/vqa", 429), (None, 401)]


def test_lines_that_nobody_reads_are_dropped_and_counted() -> None:
    """A pipe holds 64 KiB; the handler keeps ten lines besides, and logging never waits."""
    read, write = os.pipe()
    handler = BackgroundHandler(write, max_lines=10)
    handler.setFormatter(JsonLines())
    for _ in range(200):
        handler.emit(record("x" * 1000))
    dropped = handler.dropped
    assert 100 < dropped < 200
    found: list[str] = []
    with os.fdopen(read) as pipe:
        reader = threading.Thread(target=lambda: found.extend(pipe))
        reader.start()
        handler.close()
        handler._thread.join()
        os.close(write)
        reader.join()
    events = [json.loads(line) for line in found]
    assert sum(event["logger"] == "flashu.log" for event in events) == 1
    assert events[-1]["message"].startswith(f"{dropped} lines of the log were dropped")
    assert len(events) == 201 - dropped
