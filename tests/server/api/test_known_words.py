"""Warnings of words that the model was never trained on, at every route over a real socket."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

TEXT = "a red Lighthouse in the fog, and a RED lighthouse"
MESSAGE = 'the model was never trained on "lighthouse", "fog"; its result is a guess'
ROUTES: list[tuple[str, str, Callable[[str], dict[str, Any]]]] = [
    ("/v1/generate", "prompt", lambda text: {"prompt": text}),
    ("/v1/infer", "prompt", lambda text: {"prompt": text, "task": "generate"}),
    ("/v1/images/generations", "prompt", lambda text: {"prompt": text}),
    ("/v1/completions", "prompt", lambda text: {"model": "toy", "prompt": ["a red and", text]}),
    (
        "/v1/chat/completions",
        "messages",
        lambda text: {"model": "toy", "messages": [{"role": "user", "content": text}], "modalities": ["image"]},
    ),
    ("/v1/responses", "input", lambda text: {"model": "toy", "input": text, "tools": [{"type": "image_generation"}]}),
]


@pytest.fixture(scope="module")
def live(toy: Any, serving: Any) -> Iterator[Any]:
    with serving(toy(known_words="a and in red the")) as live:
        live.wait_until_ready()
        yield live


@pytest.mark.parametrize(("route", "param", "body"), ROUTES, ids=[route for route, _, _ in ROUTES])
def test_unknown_words_are_named(live: Any, route: str, param: str, body: Callable[[str], dict[str, Any]]) -> None:
    response = live.client.post(route, json=body(TEXT))
    assert response.status_code == 200
    assert {"param": param, "message": MESSAGE} in response.json()["warnings"]
    assert param in response.headers["x-flashu-warnings"].split(", ")


@pytest.mark.parametrize(("route", "param", "body"), ROUTES, ids=[route for route, _, _ in ROUTES])
def test_known_words_are_not(live: Any, route: str, param: str, body: Callable[[str], dict[str, Any]]) -> None:
    response = live.client.post(route, json=body("The red, 3 and a"))
    assert response.status_code == 200
    assert param not in [entry["param"] for entry in response.json().get("warnings", [])]


def test_a_stream_names_them_in_its_header_and_at_its_end(live: Any) -> None:
    response = live.client.post("/v1/vqa", files={"image": b""}, data={"question": "what?", "stream": "true"})
    assert response.status_code == 400
    response = live.client.post("/v1/generate", json={"prompt": TEXT, "stream": True})
    assert response.headers["x-flashu-warnings"] == "prompt"
    assert MESSAGE.replace('"', '\\"') in response.text.rpartition("event: done")[2]


def test_many_and_long_words_are_cut(live: Any) -> None:
    words = [letter * 300 for letter in "bcdefghijk"]
    (entry,) = live.client.post("/v1/generate", json={"prompt": " ".join(words)}).json()["warnings"]
    assert entry["message"].count('"') == 16 and len(entry["message"]) < 1200
    assert "and 2 more" in entry["message"]


def test_a_model_of_any_words_warns_of_none(shared: Any) -> None:
    assert "warnings" not in shared.client.post("/v1/generate", json={"prompt": TEXT}).json()
