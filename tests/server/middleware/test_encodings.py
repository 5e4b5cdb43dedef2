"""Compressed bodies: read within the limits that hold for plain ones, refused in words where they cannot be."""

from __future__ import annotations

import gzip
import json
import zlib
from typing import Any

import pytest
from starlette.types import Message

from server.errors import MalformedBodyError, UnsupportedEncodingError
from server.middleware.encodings import ContentEncoding

BODY = json.dumps({"prompt": "a red circle"}).encode()
PACKED = gzip.compress(BODY, mtime=0)  # without the time, for processes that run tests compare their names


def post(live: Any, content: bytes, encoding: str, path: str = "/v1/generate", kind: str = "application/json") -> Any:
    return live.client.post(path, content=content, headers={"content-type": kind, "content-encoding": encoding})


@pytest.mark.parametrize(
    ("encoding", "content"),
    [
        ("gzip", PACKED),
        ("x-gzip", PACKED),
        ("GZIP", gzip.compress(BODY, 0, mtime=0)),
        ("deflate", zlib.compress(BODY)),
        ("identity", BODY),
        ("", BODY),
    ],
)
def test_compressed_json(encoding: str, content: bytes, shared: Any) -> None:
    before = len(shared.engine.seen)
    assert post(shared, content, encoding).status_code == 200
    assert [one.text for one in shared.engine.seen[before:]] == ["a red circle"]


def test_a_compressed_form(shared: Any) -> None:
    form = b'--a\r\nContent-Disposition: form-data; name="question"\r\n\r\nwhat is it?\r\n--a--\r\n'
    answer = post(shared, gzip.compress(form), "gzip", "/v1/vqa", "multipart/form-data; boundary=a")
    assert answer.json()["error"]["param"] == "image", "the form was read"


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, gzip", "gzip, identity", "secret"])
def test_other_encodings_are_refused_with_those_that_are_read(encoding: str, shared: Any) -> None:
    answer = post(shared, BODY, encoding)
    assert answer.status_code == 415
    assert answer.json()["error"]["code"] == "unsupported_content_encoding"
    assert answer.headers["accept-encoding"] == "gzip, deflate"
    assert "secret" not in answer.text


@pytest.mark.parametrize(
    "content",
    [
        BODY,
        b"",
        PACKED[:-4],
        PACKED[:-8] + b"\0" * 8,
        PACKED + b"more",
        PACKED * 2,
    ],
)
def test_damaged_data(content: bytes, shared: Any) -> None:
    answer = post(shared, content, "gzip")
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "malformed_body")


def test_the_limit_is_of_what_it_inflates_to(shared: Any) -> None:
    for times in (1, 2):
        bomb = gzip.compress(b" " * (times * 8 * 2**20))  # the limit of the shared server, and twice it
        assert len(bomb) < 20_000
        answer = post(shared, bomb, "gzip")
        if times == 1:
            assert answer.json()["error"]["code"] == "invalid_json", "all of it was read"
        else:
            assert (answer.status_code, answer.json()["error"]["code"]) == (413, "body_too_large")


class Reader:
    """What a route gets of messages."""

    def __init__(self, *messages: Message) -> None:
        self.messages = list(messages)
        self.got: list[Message] = []

    async def receive(self) -> Message:
        return self.messages.pop(0)

    async def read(self, encoding: bytes, pieces: int) -> None:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            for _ in range(pieces):
                self.got.append(await receive())

        async def send(message: Message) -> None:
            raise AssertionError("nothing is sent")

        scope = {"type": "http", "headers": [(b"content-encoding", encoding)]}
        await ContentEncoding(app)(scope, self.receive, send)


def sent(body: bytes, more: bool = False) -> Message:
    return {"type": "http.request", "body": body, "more_body": more}


async def test_a_bomb_is_inflated_no_further_than_it_is_read() -> None:
    reader = Reader(sent(gzip.compress(b"\0" * 2**26)))
    await reader.read(b"gzip", 3)
    assert [len(message["body"]) for message in reader.got] == [2**18] * 3
    assert all(message["more_body"] for message in reader.got)


@pytest.mark.parametrize("size", [0, 1, 2**18 - 1, 2**18, 2**18 + 1, 2**19])
@pytest.mark.parametrize("step", [1, 7, 10**6])
async def test_pieces_of_any_size_and_then_the_disconnect(size: int, step: int) -> None:
    content = bytes(index * 7919 % 251 for index in range(size))
    packed = gzip.compress(content, 1)
    if step == 1:
        packed_pieces = [packed[:1], packed[1:2], packed[2:-1], packed[-1:]]
    else:
        width = max(len(packed) // step, 1)
        packed_pieces = [packed[begin : begin + width] for begin in range(0, len(packed), width)][:-1]
        packed_pieces.append(packed[len(packed_pieces) * width :])
    messages = [sent(piece, True) for piece in packed_pieces] + [sent(b"")]

    class Whole(Reader):
        async def read(self, encoding: bytes, pieces: int) -> None:
            async def app(scope: Any, receive: Any, send: Any) -> None:
                while True:
                    message = await receive()
                    self.got.append(message)
                    if not message.get("more_body"):
                        break
                self.got.append(await receive())

            await ContentEncoding(app)(
                {"type": "http", "headers": [(b"content-encoding", encoding)]}, self.receive, None
            )  # type: ignore[arg-type]

    reader = Whole(*messages, {"type": "http.disconnect"})
    await reader.read(b"gzip", 0)
    assert b"".join(message.get("body", b"") for message in reader.got) == content
    assert reader.got[-1] == {"type": "http.disconnect"}


async def test_errors_come_where_the_body_is_read() -> None:
    for encoding, content, error in (
        (b"br", BODY, UnsupportedEncodingError),
        (b"gzip", BODY, MalformedBodyError),
    ):
        reader = Reader(sent(content))
        await reader.read(encoding, 0)
        with pytest.raises(error):
            await reader.read(encoding, 1)
