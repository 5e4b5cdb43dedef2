"""Records have the right outcome and are read as they were written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from load_tests.bench.client import Reply
from load_tests.bench.record import Record, read, record, write

Make = Callable[..., Any]


def replied(body: bytes, **changes: Any) -> Reply:
    values: dict[str, Any] = {
        "sent": 101.0,
        "first_byte": 102.0,
        "end": 103.0,
        "status": 200,
        "received": 10,
        "headers": {},
        "body": body,
        "error": None,
    }
    return Reply(**{**values, **changes})


def noted(reply: Reply) -> Record:
    return record(reply, phase="mixed", task="generate", counted=True, scheduled=100.5, began=100.0)


def test_latency_is_from_the_scheduled_time(answer: Make) -> None:
    one = noted(replied(answer("generate")))
    assert (one.scheduled, one.sent, one.first_byte, one.end) == (0.5, 1.0, 2.0, 3.0)
    assert (one.latency, one.late) == (2.5, 0.5)
    assert one.outcome == "completed"


def test_a_step_is_the_mean_of_its_request_s(answer: Make) -> None:
    assert noted(replied(answer("generate"))).step_s == pytest.approx(0.016 / 8)
    assert noted(replied(answer("vqa"))).step_s is None


def test_work_begins_when_the_engine_does_and_never_before_the_request(answer: Make) -> None:
    assert noted(replied(answer("generate"))).worked == pytest.approx((2.98, 3.0))
    assert noted(replied(answer("generate", engine_ms=9000.0))).worked == (1.0, 3.0)


@pytest.mark.parametrize(
    ("changes", "outcome", "retry_after"),
    [
        ({"status": 503, "headers": {"retry-after": "7"}}, "refused", 7.0),
        ({"status": 429, "headers": {"retry-after": "soon"}}, "refused", None),
        ({"status": 503}, "refused", None),
        ({"status": 500}, "failed", None),
        ({"status": 504}, "failed", None),
        ({"status": None, "error": "reset", "first_byte": None}, "broken", None),
        ({}, "failed", None),
        ({"error": "cut"}, "broken", None),
        ({"error": "timeout"}, "broken", None),
    ],
)
def test_how_it_ended(changes: dict[str, Any], outcome: str, retry_after: float | None) -> None:
    one = noted(replied(b"not to be read", **changes))
    assert (one.outcome, one.retry_after) == (outcome, retry_after)
    assert one.timings_ms == {}


def test_the_server_s_own_word_for_what_went_wrong() -> None:
    assert noted(replied(b'{"error": {"code": "queue_full"}}', status=503)).failure == "queue_full"
    assert noted(replied(b"no result")).failure == "no_result"
    assert noted(replied(b"", status=None, error="reset")).failure is None


def test_the_first_event_of_a_stream_is_since_the_run_began(answer: Make) -> None:
    body = b'event: text\ndata: {"text": "r"}\n\nevent: done\ndata: ' + answer("vqa") + b"\n\n"
    one = noted(replied(body, headers={"content-type": "text/event-stream"}, pieces=[(102.5, len(body))]))
    assert (one.first_event, one.outcome) == (2.5, "completed")


def test_records_are_read_as_they_were_written(tmp_path: Path, answer: Make, made: Make) -> None:
    path = tmp_path / "records.jsonl.gz"
    records = [noted(replied(answer("generate"))), made(error="reset", status=None, first_byte=None)]
    records.append(made(counted=False))
    write(records, path)
    assert read(path) == records
    assert path.read_bytes().startswith(b"\x1f\x8b")
