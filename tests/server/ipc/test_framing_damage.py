"""Frames with a value, a shape or a length that is none: each is a `WireError`, to the writer too."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from flashu_core import (
    CancelledError,
    Failed,
    GenerateRequest,
    Progress,
    Text,
    UnderstandRequest,
    UnitEnded,
)
from server.ipc import framing as wire
from server.ipc.framing import PREFIX, WireError, decode_frame, encode
from server.ipc.protocol import (
    FROM_WORKER,
    TO_WORKER,
    Cancel,
    Refused,
    Shutdown,
    Submit,
)

ALL = (*TO_WORKER, *FROM_WORKER)


def joined(message: object) -> bytes:
    return b"".join(bytes(buffer) for buffer in encode(message))


def changed(message: object, **members: Any) -> bytes:
    """The frame of a message whose header has other members; None removes one."""
    frame = joined(message)
    header, pictures = wire.lengths(frame[:8])
    value = {**json.loads(frame[8 : 8 + header]), **members}
    text = json.dumps({name: member for name, member in value.items() if member is not ...}).encode()
    return PREFIX.pack(len(text), pictures) + text + frame[8 + header :]


PICTURE_OF_ONE = np.zeros((1, 1, 3), np.uint8)
SUBMIT = Submit(
    request_id="1", arrived=0.0, request=UnderstandRequest(question="a", image=PICTURE_OF_ONE, acceleration="exact")
)


def with_shape(shape: Any) -> bytes:
    header = joined(SUBMIT)[8:-3].decode().replace("[1,1,3]", json.dumps(shape)).encode()
    return PREFIX.pack(len(header), 3) + header + b"abc"


@pytest.mark.parametrize(
    "shape",
    [
        *([1, 1, 4], [1, 1], [1, 1, 3, 1], [0, 1, 3], [-1, -1, 3], [2, 1, 3], [1.0, 1, 3], [True, 1, 3]),
        *(3, None, "113", [2**20, 2**20, 3], [2**63, 1, 3]),
    ],
)
def test_shapes_that_are_none_or_do_not_fit(shape: Any) -> None:
    assert isinstance(decode_frame(with_shape([1, 1, 3]), TO_WORKER), Submit)
    with pytest.raises(WireError):
        decode_frame(with_shape(shape), TO_WORKER)


@pytest.mark.parametrize(
    ("message", "members"),
    [
        (Cancel(request_id="1"), {"tag": "nothing"}),
        (Cancel(request_id="1"), {"tag": ...}),
        (Cancel(request_id="1"), {"tag": ["cancel"]}),
        (Cancel(request_id="1"), {"request_id": ...}),
        (Cancel(request_id="1"), {"request_id": 1}),
        (Progress("1", 1, 2), {"step": 1.0}),
        (Progress("1", 1, 2), {"step": True}),
        (Progress("1", 1, 2), {"step": 2**63}),
        (Cancel(request_id="1"), {"more": 1}),
        (Text("1", "a"), {"text": "\ud800"}),
        (Text("1", "a"), {"text": None}),
        (
            UnitEnded(stage="decode", rows=1, seconds=1.0),
            {"memory": {"weights": 1.5}},
        ),
        (
            UnitEnded(stage="decode", rows=1, seconds=1.0),
            {"seconds": float("inf")},
        ),
        (Failed("1", CancelledError("a")), {"error": {"kind": "SystemExit", "message": "a", "parameter": None}}),
        (Failed("1", CancelledError("a")), {"error": {"kind": "cancelled", "message": "a"}}),
    ],
)
def test_values_of_another_form(message: Any, members: dict[str, Any]) -> None:
    assert type(decode_frame(changed(message), ALL)) is type(message)
    with pytest.raises(WireError):
        decode_frame(changed(message, **members), ALL)


def test_values_that_a_request_refuses() -> None:
    frame = joined(
        Submit(
            request_id="1", arrived=0.0, request=GenerateRequest(prompt="secret", num_images=8, acceleration="exact")
        )
    )
    with pytest.raises(WireError, match="out of range") as caught:
        decode_frame(frame.replace(b'"num_images":8', b'"num_images":9'), TO_WORKER)
    assert "secret" not in str(caught.value)


def test_each_side_takes_the_other_ones_messages_only() -> None:
    with pytest.raises(WireError):
        decode_frame(joined(Shutdown()), FROM_WORKER)
    with pytest.raises(WireError):
        decode_frame(joined(Refused(request_id="1", error=None)), TO_WORKER)


def test_what_cannot_be_written() -> None:
    for message in (
        object(),
        Text("1", "\udc80"),
        Text("1", "x" * (wire.MAX_HEADER_BYTES + 1)),
        Progress("1", 2**63, 1),
        Cancel(request_id=1),  # type: ignore[arg-type]
        Refused(request_id=None, error=None),  # type: ignore[arg-type]
        Failed("1", ValueError("a")),  # type: ignore[arg-type]
        Submit(
            request_id="1",
            arrived=0.0,
            request=GenerateRequest(prompt="a", overrides={"x": float("nan")}, acceleration="exact"),
        ),
    ):
        with pytest.raises(WireError):
            encode(message)


def test_errors_of_unlisted_classes_travel_as_the_nearest_listed_one() -> None:
    class ShoutedError(CancelledError):
        pass

    back = decode_frame(joined(Failed("1", ShoutedError("hey"))), FROM_WORKER)
    assert isinstance(back, Failed)
    assert type(back.error) is CancelledError
    assert str(back.error) == "hey"


def test_deep_json_and_endless_digits() -> None:
    for text in (b"[" * 100_000, b'{"tag":' * 50_000, b'{"tag":"progress","step":' + b"9" * 100_000 + b"}"):
        with pytest.raises(WireError):
            decode_frame(PREFIX.pack(len(text), 0) + text, ALL)


def test_lengths_are_bounded_before_anything_is_read() -> None:
    for header, pictures in (
        (wire.MAX_HEADER_BYTES + 1, 0),
        (10, wire.MAX_PICTURE_BYTES + 1),
        (2**32 - 1, 2**32 - 1),
    ):
        with pytest.raises(WireError, match="limit"):
            wire.lengths(PREFIX.pack(header, pictures))
