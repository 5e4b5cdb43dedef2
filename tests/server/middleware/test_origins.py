"""Hosts and origins: pages of others get nothing by default on one's own machine, programs and the playground do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from flashu_core import ConfigurationError
from server.app import create_app
from server.middleware.origins import AllowedHosts, origins_of
from server.settings import Settings

APP = "https://app.example.org"
KEY = "sk-alice-5f0c9d1e7a"


@pytest.fixture(scope="module")
def open_to_app(toy: Any, serving: Any) -> Iterator[Any]:
    with serving(toy(), cors_origins=f"{APP}, http://localhost:3000", api_keys=KEY, rate_limit="1000/hour") as live:
        live.wait_until_ready()
        yield live


def generate(live: Any, **headers: str) -> Any:
    return live.client.post("/v1/generate", json={"prompt": "a"}, headers=headers)


def code(response: Any) -> str | None:
    return None if response.status_code == 200 else response.json()["error"]["code"]


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:99", "127.0.0.1:8", "[::1]:8", "LOCALHOST.", "flashu", "a.localhost", "10.0.0.7"]
)
def test_names_that_nobody_can_register_are_ours(host: str, shared: Any) -> None:
    assert code(generate(shared, host=host)) is None


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8000",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "127.0.0.1@evil.example",
        "a b",
    ],
)
def test_a_name_that_was_rebound_gets_nothing(host: str, shared: Any) -> None:
    before = len(shared.engine.seen)
    for response in (generate(shared, host=host), shared.client.get("/v1/models", headers={"host": host})):
        assert (response.status_code, code(response)) == (403, "host_not_allowed")
        assert "evil" not in response.text
    assert len(shared.engine.seen) == before
    assert shared.client.get("/livez", headers={"host": host}).status_code == 200


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://localhost:3000", "https://127.0.0.1", ""])
def test_pages_of_other_origins_send_nothing(origin: str, shared: Any) -> None:
    before = len(shared.engine.seen)
    response = generate(shared, origin=origin)
    assert (response.status_code, code(response)) == (403, "origin_not_allowed")
    assert len(shared.engine.seen) == before
    assert "access-control-allow-origin" not in response.headers


def test_the_playground_and_programs_do(shared: Any) -> None:
    assert code(generate(shared)) is None
    for scheme in ("http", "https"):  # a proxy may have taken TLS off
        assert code(generate(shared, origin=f"{scheme}://127.0.0.1:{shared.port}")) is None
    assert shared.client.get("/v1/models", headers={"origin": "https://evil.example"}).status_code == 200


def test_preflights_need_a_listed_origin_and_no_key(open_to_app: Any) -> None:
    requested = {
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization,content-type",
    }
    answer = open_to_app.client.options("/v1/generate", headers={"origin": APP, **requested})
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == APP
    assert "POST" in answer.headers["access-control-allow-methods"]
    assert "authorization" in answer.headers["access-control-allow-headers"]
    answer = open_to_app.client.options("/v1/generate", headers={"origin": "https://evil.example", **requested})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "cors_refused")
    assert "access-control-allow-origin" not in answer.headers
    # An OPTIONS that is no preflight is a request as any other.
    assert open_to_app.client.options("/v1/generate", headers={"origin": APP}).status_code == 401


def test_a_listed_page_reads_answers_and_errors(open_to_app: Any) -> None:
    for headers, status in (({"authorization": f"Bearer {KEY}"}, 200), ({}, 401)):
        answer = generate(open_to_app, origin=APP, **headers)
        assert answer.status_code == status
        assert answer.headers["access-control-allow-origin"] == APP
        exposed = answer.headers["access-control-expose-headers"].lower().split(", ")
        assert {
            "x-request-id",
            "x-flashu-id",
            "retry-after",
            "x-ratelimit-reset-requests",
            "x-ratelimit-reset-tokens",
        } <= set(exposed)
        assert "origin" in answer.headers["vary"].lower()
    answer = generate(open_to_app, origin="https://evil.example", authorization=f"Bearer {KEY}")
    assert (answer.status_code, code(answer)) == (403, "origin_not_allowed")


def test_without_the_setting_there_is_no_cors(shared: Any) -> None:
    answer = shared.client.get("/livez", headers={"origin": APP})
    assert not [name for name in answer.headers if name.startswith("access-control")]


@pytest.mark.parametrize(
    "text", ["*", "https://a.example/", "a.example", "https://", "null", "https://a.example/x", "https://*.a.example"]
)
def test_what_is_no_exact_origin_does_not_start(text: str) -> None:
    with pytest.raises(ConfigurationError, match="cors_origins"):
        create_app(Settings(cors_origins=text))


def test_hosts_by_setting() -> None:
    assert AllowedHosts.of("", loopback=False) is None
    assert AllowedHosts.of("*", loopback=True) is None
    listed = AllowedHosts.of("Api.Example, .b.example", loopback=True)
    assert listed is not None
    assert [host in listed for host in ("api.example:80", "API.EXAMPLE", "x.b.example", "[::1]", "10.0.0.1:80")] == [
        True
    ] * 5
    assert [host in listed for host in ("b.example", "flashu", "xapi.example", "", "xb.example")] == [False] * 5
    for text in ("a.example:80", "http://a.example", "a/b"):
        with pytest.raises(ConfigurationError, match="allowed_hosts"):
            AllowedHosts.of(text, loopback=True)


def test_what_the_lists_of_origins_hold() -> None:
    assert origins_of("") == ()
    assert origins_of("http://localhost:3000 , HTTPS://A.example,chrome-extension://abcdef") == (
        "http://localhost:3000",
        "https://a.example",
        "chrome-extension://abcdef",
    )


def test_a_server_for_others_takes_any_host_by_default(toy: Any, serving: Any) -> None:
    with serving(toy(), host="0.0.0.0") as live:  # what it listens on is the fixture's
        live.wait_until_ready()
        assert code(generate(live, host="flashu.example.org", origin="https://evil.example")) is None
    with serving(toy(), host="0.0.0.0", check_origin=True, allowed_hosts="flashu.example.org") as live:
        live.wait_until_ready()
        assert code(generate(live, host="flashu.example.org", origin="https://flashu.example.org")) is None
        assert code(generate(live, host="flashu.example.org", origin="https://evil.example")) == "origin_not_allowed"
        assert code(generate(live, host="other.example")) == "host_not_allowed"
