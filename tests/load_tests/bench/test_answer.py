"""Parsing responses: JSON, streams with their times, responses without a result."""

from __future__ import annotations

import json
from typing import Any

import pytest

from load_tests.bench.answer import NO_RESULT, Answer, failure_of, read_answer
from load_tests.bench.client import Reply

DONE = {"timings_ms": {"queue": 1.0, "total": 20.0}, "schedule": {"evaluations": 4}}


def reply(body: bytes, kind: str = "application/json", pieces: tuple[tuple[float, int], ...] = ()) -> Reply:
    return Reply(
        sent=1.0,
        first_byte=2.0,
        end=9.0,
        status=200,
        received=len(body),
        headers={"content-type": kind},
        body=body,
        error=None,
        pieces=pieces,
    )


def event(name: str, data: Any) -> bytes:
    return f"event: {name}\ndata: {json.dumps(data)}\n\n".encode()


def streamed(*parts: bytes) -> Answer:
    """Each part arrives a second after the one before, the first at 3."""
    length, pieces = 0, []
    for index, part in enumerate(parts):
        length += len(part)
        pieces.append((3.0 + index, length))
    return read_answer(reply(b"".join(parts), "text/event-stream; charset=utf-8", tuple(pieces)))


def test_a_picture_and_an_answer() -> None:
    images = read_answer(reply(json.dumps({**DONE, "images": [{"b64_json": "AA==", "seed": 1}]}).encode()))
    assert (images.pictures, images.text, images.steps, images.failure) == (("AA==",), None, 4, None)
    assert images.timings_ms == {"queue": 1.0, "total": 20.0}
    answered = read_answer(reply(json.dumps({**DONE, "schedule": {}, "answer": "red"}).encode()))
    assert (answered.pictures, answered.text, answered.steps) == ((), "red", 0)


def test_the_first_event_is_there_when_its_last_byte_is() -> None:
    text = event("text", {"text": "r"})
    done = event("done", {**DONE, "answer": "red"})
    found = streamed(b": ping\n\n", text[:10], text[10:] + event("text", {"text": "ed"}), done)
    assert found.first_event == 5.0
    assert (found.text, found.failure) == ("red", None)


def test_a_stream_of_a_picture() -> None:
    progress = event("progress", {"evaluation": 1, "of": 4, "eta_s": None})
    picture = event("image", {"index": 0, "b64_json": "AA==", "seed": 3})
    found = streamed(progress, picture + event("done", DONE))
    assert (found.first_event, found.pictures, found.steps, found.failure) == (3.0, ("AA==",), 4, None)


def test_a_stream_that_fails_or_ends_too_early() -> None:
    text = event("text", {"text": "r"})
    failed = streamed(text, event("error", {"error": {"message": "m", "code": "deadline_exceeded"}}))
    assert (failed.failure, failed.first_event) == ("deadline_exceeded", 3.0)
    assert streamed(text).failure == NO_RESULT
    assert streamed(text, b"event: text\ndata: {").failure == NO_RESULT


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b"{}", b"\xff", b'{"timings_ms": 1, "schedule": {}}'])
def test_what_holds_no_result(body: bytes) -> None:
    assert read_answer(reply(body)).failure == NO_RESULT


def test_the_code_of_an_error() -> None:
    assert failure_of(reply(b'{"error": {"code": "overloaded"}}')) == "overloaded"
    for body in (b"", b"{}", b"[]", b'{"error": "x"}', b'{"error": {}}'):
        assert failure_of(reply(body)) is None
