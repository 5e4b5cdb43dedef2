"""Pictures by address: `response_format: "url"`, and the route that serves what was kept."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from server.images.store import PREFIX

KEY = "sk-0123456789"


@pytest.fixture(scope="module")
def live(toy: Callable[..., Any]) -> Iterator[Any]:
    from tests.server.conftest import _serving

    with _serving(toy(), api_keys=KEY, image_store_mib=1, served_model_names="gpt-image-1, shapes") as live:
        live.wait_until_ready()
        live.client.headers["authorization"] = f"Bearer {KEY}"
        yield live


def generate(live: Any, **fields: Any) -> Any:
    body = {"prompt": "a", "response_format": "url", "seed": 3, **fields}
    return live.client.post("/v1/images/generations", json=body)


def test_a_picture_by_address(live: Any) -> None:
    answer = generate(live, n=2).json()
    plain = generate(live, n=2, response_format=None).json()
    assert [set(one) for one in answer["data"]] == [{"url", "seed"}] * 2
    for one, same in zip(answer["data"], plain["data"], strict=True):
        assert one["url"].startswith(f"http://127.0.0.1:{live.port}{PREFIX}")
        # The address needs no API key.
        file = live.client.get(one["url"], headers={"authorization": ""})
        assert base64.b64encode(file.content).decode() == same["b64_json"]
        assert file.headers["content-type"] == "image/png"
        assert file.headers["cache-control"].startswith("private, max-age=35")
        assert file.headers["x-content-type-options"] == "nosniff"
        head = live.client.head(one["url"], headers={"authorization": ""})
        assert (head.status_code, head.headers["content-length"]) == (200, str(len(file.content)))
    jpeg = generate(live, output_format="jpeg").json()["data"][0]["url"]
    assert live.client.get(jpeg).headers["content-type"] == "image/jpeg"


@pytest.mark.parametrize("token", ["x", "x" * 43, "..", "%2e%2e", "a/b", "x" * 5000, "\u00e4"])
def test_an_address_that_is_none(token: str, live: Any) -> None:
    response = live.client.get(PREFIX + token, headers={"authorization": ""})
    assert response.status_code in (400, 401, 404)
    assert response.json()["error"]["code"] in ("not_found", "invalid_value", "invalid_api_key")


def test_addresses_open_nothing_else(live: Any) -> None:
    for method, path in [("POST", PREFIX + "x"), ("GET", "/v1/models"), ("GET", PREFIX[:-1]), ("DELETE", PREFIX)]:
        assert live.client.request(method, path, headers={"authorization": ""}).status_code == 401


def test_what_is_kept_is_bounded(live: Any) -> None:
    first = generate(live).json()["data"][0]["url"]
    size = len(live.client.get(first).content)
    for _ in range(2**20 // size // 8 + 1):
        generate(live, n=8)
    assert live.client.get(first).status_code == 404


def test_a_kept_picture_is_asked_about_by_its_address(live: Any) -> None:
    url = generate(live, size="96x64").json()["data"][0]["url"]
    for address in (url, PREFIX + url.rpartition("/")[2]):
        parts = [{"type": "text", "text": "what?"}, {"type": "image_url", "image_url": {"url": address}}]
        body = {"model": "shapes", "messages": [{"role": "user", "content": parts}]}
        answer = live.client.post("/v1/chat/completions", json=body)
        if address is url:
            assert answer.json()["choices"][0]["message"]["content"].startswith("96x64")
        else:  # not an address by itself
            assert answer.status_code == 400


def test_a_stream_carries_the_picture_itself(live: Any) -> None:
    response = generate(live, stream=True)
    assert response.headers["x-flashu-warnings"] == "response_format"
    assert '"b64_json"' in response.text and '"url"' not in response.text


@pytest.mark.parametrize("host", ["evil.example", "a.example:8443", "[2001:db8::1]:80"])
def test_the_host_of_an_address_is_the_requests(host: str, toy: Callable[..., Any], serving: Any) -> None:
    with serving(toy(), allowed_hosts="*", root_path="/flashu") as live:
        live.wait_until_ready()
        body = {"prompt": "a", "response_format": "url"}
        answer = live.client.post("/v1/images/generations", json=body, headers={"host": host}).json()
        url = answer["data"][0]["url"]
        assert url.startswith(f"http://{host}/flashu{PREFIX}")
        assert live.client.get(f"/flashu{PREFIX}{url.rpartition('/')[2]}").status_code == 200


def test_a_public_url_and_no_store(toy: Callable[..., Any], serving: Any) -> None:
    with serving(toy(), public_url="https://draw.example/api/") as live:
        live.wait_until_ready()
        url = generate(live).json()["data"][0]["url"]
        assert url.startswith(f"https://draw.example/api{PREFIX}")
    with serving(toy(), image_store_mib=0) as live:
        live.wait_until_ready()
        error = generate(live).json()["error"]
        assert (error["param"], error["code"]) == ("response_format", "unsupported_value")
        assert "does not store pictures" in error["message"]
        assert live.client.get(PREFIX + "x").status_code == 404


def test_served_names(live: Any) -> None:
    names = ["gpt-image-1", "shapes"]
    assert [model["id"] for model in live.client.get("/v1/models").json()["data"]] == names
    for name in names:
        assert live.client.get(f"/v1/models/{name}").json()["id"] == name
        body = {"model": name, "messages": [{"role": "user", "content": "what is red?"}]}
        assert live.client.post("/v1/chat/completions", json=body).json()["model"] == name
        assert generate(live, model=name).status_code == 200
    for name in ("toy", "gpt-image-1, shapes"):
        response = generate(live, model=name)
        error = response.json()["error"]
        assert (response.status_code, error["code"], error["param"]) == (404, "model_not_found", "model")
        assert "use gpt-image-1 or shapes" in error["message"]
