"""One path however it is spelled: for the routes, the keys, the quotas and the log, over real sockets."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest

KEY = "sk-alice-5f0c9d1e7a"
BEARER = {"authorization": f"Bearer {KEY}"}


@pytest.fixture(scope="module")
def keyed(toy: Any, serving: Any) -> Iterator[Any]:
    with serving(toy(), api_keys=f"alice:{KEY}", root_path="/flashu") as live:
        live.wait_until_ready()
        yield live


def exchange(port: int, sent: bytes) -> bytes:
    """All that a server answers, until it closes."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as client:
        client.sendall(sent)
        answer = b""
        while part := client.recv(65536):
            answer += part
        return answer


@pytest.mark.parametrize(
    "path",
    [
        *("/livez", "/readyz", "/health", "/metrics", "/version", "/v1/models", "/v1/models/toy", "/openapi.json"),
        *("/", "/playground.js", "/playground.css"),
    ],
)
def test_head_wherever_get_is(path: str, shared: Any) -> None:
    got, head = shared.client.get(path), shared.client.head(path)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-type"] == got.headers["content-type"]
    assert int(head.headers["content-length"]) > 0


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("HEAD", "/v1/generate", {"POST", "OPTIONS"}),
        ("GET", "/v1/generate", {"POST", "OPTIONS"}),
        ("DELETE", "/v1/models", {"GET", "HEAD", "OPTIONS"}),
        ("PUT", "/livez", {"GET", "HEAD", "OPTIONS"}),
    ],
)
def test_other_methods_get_the_allowed_ones(method: str, path: str, allowed: set[str], shared: Any) -> None:
    answer = shared.client.request(method, path, headers={"x-http-method-override": "POST"})
    assert answer.status_code == 405
    assert set(answer.headers["allow"].split(", ")) == allowed
    if method != "HEAD":
        assert answer.json()["error"]["message"] in (
            "this route does not accept this method; use GET",
            "this route does not accept this method; use POST",
        )


@pytest.mark.parametrize(
    ("path", "allowed"),
    [("/v1/generate", {"POST", "OPTIONS"}), ("/", {"GET", "HEAD", "OPTIONS"}), ("/livez/", {"GET", "HEAD", "OPTIONS"})],
)
def test_options_list_the_allowed_methods(path: str, allowed: set[str], shared: Any) -> None:
    for headers in ({}, {"origin": "https://a.example", "access-control-request-method": "POST"}):
        answer = shared.client.options(path, headers=headers)
        assert (answer.status_code, answer.content) == (204, b"")
        assert set(answer.headers["allow"].split(", ")) == allowed
        # Without cors_origins a browser reads no permission out of it.
        assert not [name for name in answer.headers if name.startswith("access-control")]


@pytest.mark.parametrize("path", ["/v1/generate/", "/v1%2Fgenerate", "/v1/g%65nerate"])
def test_another_spelling_is_the_same_route(path: str, shared: Any) -> None:
    answer = shared.client.post(path, json={"prompt": "a"})
    assert answer.status_code == 200
    assert not answer.history


@pytest.mark.parametrize(
    "path", ["//v1/generate", "/v1/generate//", "/v1//generate", "/V1/generate", "/v1/../v1/generate"]
)
def test_other_paths_are_not(path: str, shared: Any) -> None:
    request = f"POST {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
    assert exchange(shared.port, request.encode()).startswith(b"HTTP/1.1 404")


def test_an_absolute_target(shared: Any) -> None:
    own = f"http://127.0.0.1:{shared.port}"
    answer = exchange(shared.port, f"GET {own}/livez HTTP/1.1\r\nHost: other\r\nConnection: close\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 200")
    answer = exchange(shared.port, f"GET {own} HTTP/1.1\r\nHost: other\r\nConnection: close\r\n\r\n".encode())
    assert b"text/html" in answer
    # The target's host is the one that is judged, not the header.
    evil = b"GET http://evil.example/v1/models HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    assert exchange(shared.port, evil).startswith(b"HTTP/1.1 403")


def test_http_1_0(shared: Any) -> None:
    assert exchange(shared.port, b"GET /livez HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.1 200")
    body = b'{"prompt": "a"}'
    head = b"POST /v1/generate HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
    assert exchange(shared.port, head + body).startswith(b"HTTP/1.1 200")


def test_expecting_100_continue(shared: Any) -> None:
    body = b'{"prompt": "a"}'
    head = b"POST /v1/generate HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nConnection: close\r\n"
    with socket.create_connection(("127.0.0.1", shared.port), timeout=60) as client:
        client.sendall(head + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(body))
        assert client.recv(1000).startswith(b"HTTP/1.1 100")
        client.sendall(body)
        assert client.recv(17, socket.MSG_WAITALL) == b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize("prefix", ["", "/flashu"])
def test_a_prefix_left_on_or_cut_off(prefix: str, keyed: Any) -> None:
    assert keyed.client.get(f"{prefix}/livez").status_code == 200
    assert "playground.js" in keyed.client.get(f"{prefix}/").text
    assert keyed.client.get(f"{prefix}/playground.js").status_code == 200
    assert keyed.client.get(f"{prefix}/v1/models/").status_code == 401
    assert keyed.client.get(f"{prefix}/v1/models/", headers=BEARER).status_code == 200
    document = keyed.client.get(f"{prefix}/openapi.json", headers=BEARER).json()
    assert document["servers"] == [{"url": "/flashu"}]
    assert "/v1/generate" in document["paths"]


def test_the_prefix_alone_leads_to_the_page_whose_addresses_are_relative(keyed: Any) -> None:
    answer = keyed.client.get("/flashu")
    assert (answer.status_code, answer.headers["location"]) == (307, "/flashu/")


@pytest.mark.parametrize(
    "path",
    [
        *("/flashu/flashu/livez", "/flashu/flashu/v1/models", "/livez/../v1/models", "/livez%2F..%2Fv1%2Fmodels"),
        *("/flashu//v1/models", "//v1/models", "/livez/v1/models", "/livez//", "/flashulivez", "/flashu%00/v1/models"),
    ],
)
def test_no_spelling_gets_past_the_keys(path: str, keyed: Any) -> None:
    request = f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    assert exchange(keyed.port, request.encode()).startswith(b"HTTP/1.1 401")
