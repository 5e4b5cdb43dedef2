"""Parses responses of the native routes, JSON or server-sent events. Never raises for a malformed response."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from load_tests.bench.client import Reply

NO_RESULT = "no_result"  # the client's own code for a 200 without a result
_STREAM = "text/event-stream"
_RESULTS = frozenset({"text", "progress", "partial_image", "image"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """A response with status 200.

    Attributes:
        pictures: image files as base64.
        text: of an answer; None for images.
        first_event: when the first event of the result arrived, in seconds of the event loop's clock.
        failure: the server's error code, or `no_result`; None if there is a result.
    """

    timings_ms: Mapping[str, float] = field(default_factory=dict)
    steps: int = 0
    pictures: Sequence[str] = ()
    text: str | None = None
    first_event: float | None = None
    failure: str | None = None


def read_answer(reply: Reply) -> Answer:
    """Parses a complete response with status 200."""
    try:
        if reply.headers.get("content-type", "").startswith(_STREAM):
            return _streamed(reply)
        body = json.loads(reply.body)
        return _answer(body, [picture["b64_json"] for picture in body.get("images", ())])
    except (ValueError, TypeError, KeyError, AttributeError):
        return Answer(failure=NO_RESULT)


def failure_of(reply: Reply) -> str | None:
    """The server's error code in a response body; None if there is none."""
    try:
        return _code(json.loads(reply.body))
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def _streamed(reply: Reply) -> Answer:
    pictures: list[str] = []
    first_event = None
    for name, data, end in _events(reply.body):
        if first_event is None and name in _RESULTS:
            first_event = next((at for at, length in reply.pieces if length >= end), reply.end)
        if name == "image":
            pictures.append(data["b64_json"])
        elif name == "done":
            return _answer(data, pictures, first_event)
        elif name == "error":
            return Answer(first_event=first_event, failure=_code(data))
    return Answer(first_event=first_event, failure=NO_RESULT)


def _events(body: bytes) -> Iterator[tuple[str, Any, int]]:
    """Name, data and end offset of each named event; comments are skipped."""
    end = 0
    for text in body.split(b"\n\n"):
        end += len(text) + 2
        fields = dict(line.split(": ", 1) for line in text.decode().splitlines() if ": " in line)
        if "event" in fields:
            yield fields["event"], json.loads(fields["data"]), end


def _answer(body: Mapping[str, Any], pictures: Sequence[str], first_event: float | None = None) -> Answer:
    return Answer(
        timings_ms=dict(body["timings_ms"]),
        steps=int(body["schedule"].get("evaluations", 0)),
        pictures=tuple(pictures),
        text=body.get("answer"),
        first_event=first_event,
    )


def _code(body: Mapping[str, Any]) -> str | None:
    code = body["error"].get("code")
    return None if code is None else str(code)
