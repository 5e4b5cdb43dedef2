"""Keys: what is one, who gets in, and that no response contains one."""

from __future__ import annotations

import hmac
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from flashu_core import ConfigurationError
from server.middleware.keys import PAGE, ApiKeys, KeyRing, open_to_all
from server.settings import Settings

ALICE = "sk-alice-5f0c9d1e7a"
BOB = "sk-bob-0123456789=="


@pytest.fixture
def live(toy: Any, serving: Any) -> Iterator[Any]:
    with serving(toy(), api_keys=f"alice:{ALICE},bob:{BOB}") as live:
        live.wait_for(lambda: live.client.get("/readyz").status_code == 200)
        yield live


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def test_names_and_places() -> None:
    ring = KeyRing(f"# old, unused: no-key-at-all\nalice:{ALICE}, {BOB}\n\n alice : sk-alice-the-next ")
    assert ring.name_of(ALICE.encode()) == "alice"
    assert ring.name_of(b"sk-alice-the-next") == "alice"
    assert ring.name_of(BOB.encode()) == "key-2"
    for wrong in (b"", b"no-key-at-all", ALICE.encode()[:-1], ALICE.encode() + b"x", ALICE.upper().encode(), b"\xff"):
        assert ring.name_of(wrong) is None
    assert not KeyRing("")
    assert not KeyRing(" \n# nothing")


def test_all_digests_are_compared_whoever_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    ring = KeyRing("\n".join(f"key-number-{index}" for index in range(10)))
    compared: list[int] = []
    real = hmac.compare_digest

    def counting(one: bytes, other: bytes) -> bool:
        compared.append(len(one))
        return real(one, other)

    monkeypatch.setattr(hmac, "compare_digest", counting)
    for key in (b"key-number-0", b"key-number-9", b"none"):
        ring.name_of(key)
    assert compared == [32] * 30


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("short", "5 characters"),
        ("x" * 600, "600 characters"),
        ("a b c d e f g h", "not a valid key"),
        (f"bad name:{ALICE}", "invalid key name"),
        (f":{ALICE}", "invalid key name"),
        (f"ok:{ALICE}\nalice:ä-not-a-token", "line 2"),
    ],
)
def test_bad_keys_are_refused_without_being_shown(text: str, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words) as caught:
        KeyRing(text)
    for secret in (ALICE, text):
        assert secret not in str(caught.value)


def test_a_file_is_read_again_when_it_changes(tmp_path: Path) -> None:
    now = [0.0]
    file = tmp_path / "keys"
    file.write_text(f"# ours\nalice:{ALICE}\n")
    ring = KeyRing(BOB, file, clock=lambda: now[0])

    def names() -> list[str | None]:
        return [ring.name_of(key) for key in (ALICE.encode(), BOB.encode(), b"the-new-key")]

    assert names() == ["alice", "key-1", None]
    other = tmp_path / "other"
    other.write_text("new:the-new-key\n")
    other.replace(file)
    assert names() == ["alice", "key-1", None]  # not looked at in every moment
    now[0] += 2
    assert names() == [None, "key-1", "new"]
    for slip in ("", "# nothing\n", "x\n", None):  # a broken or lost file does not open the server, nor close it
        file.unlink() if slip is None else file.write_text(slip)
        now[0] += 2
        assert names() == [None, "key-1", "new"]
    file.write_text(f"alice:{ALICE}\n")
    os.utime(file, (1, 1))
    now[0] += 2
    assert names() == ["alice", "key-1", None]


@pytest.mark.parametrize("content", [None, "", "# only a remark\n", "\xff"])
def test_a_file_that_holds_no_key_does_not_start(content: str | None, tmp_path: Path) -> None:
    file = tmp_path / "keys"
    if content is not None:
        file.write_bytes(content.encode("latin-1"))
    with pytest.raises(ConfigurationError, match="api_key_file"):
        KeyRing("", file)


def test_nothing_shows_a_key() -> None:
    settings = Settings(api_keys=f"alice:{ALICE}")  # type: ignore[arg-type]
    ring = KeyRing(settings.api_keys.get_secret_value())
    for shown in (repr(ring), str(vars(ring)), repr(settings), str(settings), settings.model_dump_json()):
        assert ALICE not in shown


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "::1", "localhost"])
def test_hosts_that_only_this_machine_reaches(host: str) -> None:
    assert not open_to_all(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.org", ""])
def test_hosts_that_others_reach(host: str) -> None:
    assert open_to_all(host)


def test_every_route_but_the_probes_asks_for_a_key(live: Any) -> None:
    client: httpx.Client = live.client
    document = client.get("/openapi.json", headers=bearer(ALICE)).json()
    routes = [(method.upper(), path) for path, methods in document["paths"].items() for method in methods]
    routes += [("GET", "/openapi.json"), ("GET", "/nowhere"), ("BREW", "/v1/generate")]
    routes += [("GET", path) for path in PAGE]
    routes += [("GET", path) for path in ("//livez", "/livez/../v1/models", "/LIVEZ", "/metrics/x")]
    routes += [("GET", path) for path in ("//", "/index.html", "/calls.js/../v1/models")]
    kept = "/v1/images/files/{token}"  # an address of a picture is its own key
    routes += [("DELETE", kept), ("GET", "/v1/images/files"), ("GET", "/v1/images/filesx")]
    open_routes = {"/livez", "/readyz", "/health", "/metrics"} | PAGE
    assert open_routes < {path for _, path in routes}
    forged = [{}, {"host": "127.0.0.1/livez"}, {"host": "/livez"}, {"host": "livez?"}, {"x-forwarded-host": "/livez"}]
    forged += [{"x-original-url": "/livez"}, {"x-rewrite-url": "/livez"}, {"x-http-method-override": "GET"}]
    wrong: list[Any] = [
        [],
        [("authorization", f"Bearer {ALICE}x")],
        [("authorization", "Bearer")],
        [("authorization", f"Basic {ALICE}")],
        [("authorization", ALICE)],
        [("authorization", "Bearer alice")],
        [("authorization", f"Bearer alice:{ALICE}")],
        [("authorization", f"Bearer {ALICE}"), ("authorization", f"Bearer {ALICE}")],
        [("authorization", "Bearer " + "x" * 5000)],
        [("authorization", b"Bearer \xff\xfe")],
        [("x-api-key", ALICE)],
    ]
    for method, path in routes:
        if (method, path) == ("GET", kept):
            assert client.get(path).status_code == 404
            continue
        if path in open_routes:
            assert client.request(method, path).status_code == 200
            continue
        for headers in [*wrong, *([*forge.items()] for forge in forged)]:
            # The whole address: of "//livez" alone the client would make another host's "/".
            response = client.request(method, f"http://127.0.0.1:{live.port}{path}", headers=headers)
            assert response.status_code == 401, (method, path, headers)
            assert response.headers["www-authenticate"] == "Bearer"
            assert response.headers["x-request-id"]
            assert ALICE not in response.text
            error = response.json()["error"]
            assert (error["type"], error["code"]) == ("authentication_error", "invalid_api_key")
    for query in ("/v1/models?x=/livez", "/v1/models#/livez", "/v1/models?key=" + ALICE):
        assert client.get(query).status_code == 401
    assert not live.engine.seen
    work = [path for method, path in routes if method == "POST"]
    assert len(work) >= 5
    counted = live.metric('flashu_rejected_total{reason="invalid_api_key"}')
    assert counted == len(work) * (len(wrong) + len(forged))


def test_a_key_opens_every_route(live: Any) -> None:
    for header in (f"Bearer {ALICE}", f"bearer {BOB}", f"BEARER  {ALICE}"):
        assert live.client.get("/v1/models", headers={"authorization": header}).status_code == 200
        response = live.client.post("/v1/generate", json={"prompt": "a"}, headers={"authorization": header})
        assert response.status_code == 200
    assert live.client.get("/nowhere", headers=bearer(BOB)).status_code == 404


def test_a_large_body_without_a_key_is_answered_and_the_next_request_too(live: Any) -> None:
    body = {"prompt": "a", "negative_prompt": "x" * 3_000_000}
    for _ in range(3):
        assert live.client.post("/v1/generate", json=body).status_code == 401
    assert live.client.post("/v1/generate", json={"prompt": "a"}, headers=bearer(BOB)).status_code == 200


def test_the_official_client_knows_the_error(live: Any) -> None:
    def client(key: str) -> openai.OpenAI:
        return openai.OpenAI(base_url=f"http://127.0.0.1:{live.port}/v1", api_key=key, max_retries=0)

    with client("sk-wrong") as wrong, pytest.raises(openai.AuthenticationError) as caught:
        wrong.models.list()
    assert caught.value.code == "invalid_api_key"
    assert caught.value.type == "authentication_error"
    with client(ALICE) as right:
        assert [model.id for model in right.models.list().data] == ["toy"]


def test_metrics_can_be_closed_and_a_file_is_enough(toy: Any, serving: Any, tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(f"alice:{ALICE}\n")
    with serving(toy(), api_key_file=file, open_metrics=False) as live:
        assert live.client.get("/metrics").status_code == 401
        assert live.client.get("/metrics", headers=bearer(ALICE)).status_code == 200
        assert live.client.get("/livez").status_code == 200


async def test_other_protocols_are_refused_and_the_key_goes_no_further() -> None:
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope)

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        raise AssertionError("nothing is read")

    middleware = ApiKeys(app, ring=KeyRing(ALICE), open_routes=frozenset({"/livez"}))
    for path in ("/v1/live", "/livez"):
        await middleware({"type": "websocket", "path": path, "headers": []}, receive, send)
    assert [message["type"] for message in sent] == ["websocket.close", "websocket.close"]
    assert not seen
    headers = [(b"authorization", f"Bearer {ALICE}".encode()), (b"accept", b"*/*")]
    for path in ("/v1/models", "/livez"):
        await middleware({"type": "http", "path": path, "headers": headers, "method": "GET"}, receive, send)
    assert [scope["headers"] for scope in seen] == [[(b"accept", b"*/*")]] * 2
