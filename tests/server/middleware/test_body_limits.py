"""Bodies: too long, too slow, too deep, of the wrong kind, over real sockets."""

from __future__ import annotations

import json
import re
import socket
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

LIMIT = 8 * 2**20  # as the shared server has it


def check(response: Any, status: int, code: str) -> dict[str, Any]:
    assert response.status_code == status, response.text
    error: dict[str, Any] = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["code"] == code
    return error


@pytest.fixture(autouse=True)
def _the_next_request_is_served(shared: Any) -> Iterator[None]:
    yield
    assert shared.client.post("/v1/generate", json={"prompt": "next"}).status_code == 200


def test_a_declared_length_over_the_limit(shared: Any) -> None:
    body = b"x" * (LIMIT + 100_000)
    begun = time.monotonic()
    response = shared.client.post("/v1/generate", content=body, headers={"content-type": "application/json"})
    check(response, 413, "body_too_large")
    assert time.monotonic() - begun < 3


def test_a_gigabyte_declared_is_refused_before_it_is_sent(shared: Any) -> None:
    with socket.create_connection(("127.0.0.1", shared.port), timeout=5) as client:
        head = (
            "POST /v1/generate HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 1000000000\r\n"
        )
        client.sendall((head + "Expect: 100-continue\r\n\r\n").encode())
        assert client.recv(100).startswith(b"HTTP/1.1 413")


def test_a_chunked_body_over_the_limit(shared: Any) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(LIMIT // 2**16 + 2):
            yield b"x" * 2**16

    response = shared.client.post("/v1/generate", content=chunks(), headers={"content-type": "application/json"})
    check(response, 413, "body_too_large")


def test_a_form_over_the_limit(shared: Any) -> None:
    response = shared.client.post(
        "/v1/vqa", data={"question": "a"}, files={"image": ("a.png", b"x" * (LIMIT + 1000), "image/png")}
    )
    check(response, 413, "body_too_large")


def test_a_trickling_body_is_cut_off(shared: Any) -> None:
    with socket.create_connection(("127.0.0.1", shared.port), timeout=5) as client:
        head = "POST /v1/generate HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n"
        client.sendall(head.encode())
        begun = time.monotonic()
        answer = b""
        client.settimeout(0.1)
        while not answer:
            assert time.monotonic() - begun < 4
            client.sendall(b"x")
            try:
                answer = client.recv(1000)
            except TimeoutError:
                continue
        assert answer.startswith(b"HTTP/1.1 408")
        assert time.monotonic() - begun >= 0.8


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"prompt":' * 20_000,
        b'{"prompt":"a","n":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"prompt":"a","seed":' + b"9" * 1_000_000 + b"}",
        b"[" + b"[]," * 2_000_000 + b"[]]",
        b'{"prompt":"\\ud800"}',
        b'{"prompt":"a","guidance_scale":NaN}',
        b'{"prompt":"a","guidance_scale":-Infinity}',
    ],
)
def test_what_is_no_json_of_ours(body: bytes, shared: Any) -> None:
    begun = time.monotonic()
    response = shared.client.post("/v1/generate", content=body, headers={"content-type": "application/json"})
    check(response, 400, "invalid_json")
    assert time.monotonic() - begun < 1


def test_a_byte_order_mark_is_ignored(shared: Any) -> None:
    body = '{"prompt": "ä"}'.encode("utf-8-sig")
    assert body.startswith(b"\xef\xbb\xbf")
    response = shared.client.post("/v1/generate", content=body, headers={"content-type": "application/json"})
    assert response.status_code == 200
    assert shared.engine.seen[-1].text == "ä"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"])
def test_other_unicode_is_named(encoding: str, shared: Any) -> None:
    body = '{"prompt": "a"}'.encode(encoding)
    response = shared.client.post("/v1/generate", content=body, headers={"content-type": "application/json"})
    assert "UTF-8" in check(response, 400, "invalid_json")["message"]
    assert "UTF-16" in response.json()["error"]["message"]


@pytest.mark.parametrize("body", [b"[]", b"null", b"5", b'"a"', b"1e999"])
def test_json_that_is_no_object(body: bytes, shared: Any) -> None:
    response = shared.client.post("/v1/generate", content=body, headers={"content-type": "application/json"})
    assert "object" in check(response, 400, "invalid_value")["message"]


def test_five_megabytes_of_prompt(shared: Any) -> None:
    before = len(shared.engine.seen)
    error = check(shared.client.post("/v1/generate", json={"prompt": "word " * 10**6}), 400, "context_length_exceeded")
    assert error["param"] == "prompt"
    assert "word" not in error["message"]
    assert len(shared.engine.seen) == before


@pytest.mark.parametrize(
    ("route", "kind"),
    [
        ("/v1/generate", ""),
        ("/v1/generate", "text/plain"),
        ("/v1/generate", "multipart/form-data; boundary=a"),
        ("/v1/generate", "application/json; charset=utf-16"),
        ("/v1/vqa", "application/x-www-form-urlencoded"),
        ("/v1/vqa", "multipart/form-data; boundary=a; charset=punycode"),
    ],
)
def test_other_media_types(route: str, kind: str, shared: Any) -> None:
    response = shared.client.post(route, content=b'{"prompt":"a"}', headers={"content-type": kind})
    check(response, 415, "unsupported_media_type")


@pytest.mark.parametrize(
    "form",
    [
        b"",
        b"nothing",
        b"--a\r\n\r\nx\r\n--a--\r\n",
        b'--a\r\nContent-Disposition: form-data; name="question"\r\n\r\nx',
        b'--a\r\nContent-Disposition: form-data; name="q"\r\n\r\nx\r\n' * 10_000 + b"--a--\r\n",
        b'--a\r\nContent-Disposition: form-data; name="question"\r\n\r\n' + b"x" * 400_000 + b"\r\n--a--\r\n",
        b'--a\r\nContent-Disposition: form-data; name="question"\r\n\r\n\xff\xed\xa0\x80\r\n--a--\r\n',
    ],
)
def test_damaged_and_overfull_forms(form: bytes, shared: Any) -> None:
    response = shared.client.post("/v1/vqa", content=form, headers={"content-type": "multipart/form-data; boundary=a"})
    assert response.status_code == 400, response.text
    assert set(response.json()["error"]) == {"message", "type", "param", "code"}


FILE = b'--a\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n'


def test_forms_that_take_long_to_parse_are_not_read_to_their_end(toy: Any, serving: Any) -> None:
    kind = {"content-type": "multipart/form-data; boundary=a"}
    with serving(toy()) as live:
        live.wait_until_ready()
        for data in (b"\r\n--aX" * 700_000, b"\r\n--a" + b" " * 4_000_000):
            response = live.client.post("/v1/vqa", content=FILE + data + b"\r\n--a--\r\n", headers=kind)
            assert "resembles its boundary" in check(response, 400, "malformed_body")["message"]


@pytest.mark.parametrize(
    "data", [b"\r" * 4_000_000, b"\r\n--" * 1_000_000, bytes(7_000_000)], ids=["cr", "almost", "zeros"]
)
def test_files_of_any_content_are_read(data: bytes, shared: Any) -> None:
    form = FILE + data + b'\r\n--a\r\nContent-Disposition: form-data; name="question"\r\n\r\nwhat?\r\n--a--\r\n'
    response = shared.client.post("/v1/vqa", content=form, headers={"content-type": "multipart/form-data; boundary=a"})
    assert check(response, 400, "invalid_value")["param"] == "image"  # it is no picture, which the decoder finds


def test_a_form_without_a_boundary(shared: Any) -> None:
    response = shared.client.post("/v1/vqa", content=b"x", headers={"content-type": "multipart/form-data"})
    assert response.status_code == 400


def test_request_ids_are_echoed_or_made(shared: Any) -> None:
    assert shared.client.get("/livez", headers={"x-request-id": "abc-1.2_3"}).headers["x-request-id"] == "abc-1.2_3"
    for odd in ("a" * 65, "a b", "ä".encode("latin-1"), ""):
        made = shared.client.get("/nowhere", headers={"x-request-id": odd}).headers["x-request-id"]
        assert re.fullmatch(r"[0-9a-f]{32}", made)


def test_the_error_body_is_small_whatever_was_sent(shared: Any) -> None:
    body = json.dumps({"prompt": "a", **{f"{'k' * 1000}{index}": index for index in range(1000)}})
    response = shared.client.post("/v1/generate", content=body, headers={"content-type": "application/json"})
    check(response, 400, "unknown_field")
    assert len(response.content) < 1000


def test_a_file_needs_no_folder_for_temporary_ones(
    shared: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    response = shared.client.post(
        "/v1/vqa", data={"question": "a"}, files={"image": ("a.png", b"x" * 3_000_000, "image/png")}
    )
    assert check(response, 400, "invalid_value")["param"] == "image"
