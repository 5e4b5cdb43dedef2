"""Answers to clients that request changes of pictures."""

from __future__ import annotations

from typing import Any

import openai
import pytest


@pytest.fixture
def client(shared: Any) -> Any:
    with openai.OpenAI(base_url=f"http://127.0.0.1:{shared.port}/v1", api_key="none", max_retries=0) as client:
        yield client


def test_edits_are_refused_in_words(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="edits no pictures") as caught:
        client.images.edit(image=b"\x89PNG", prompt="make it blue")
    assert (caught.value.param, caught.value.code) == ("image", "unsupported_value")


def test_variations_are_refused_in_words(client: openai.OpenAI) -> None:
    # OpenAI has withdrawn it, and its client warns of that.
    with (
        pytest.warns(DeprecationWarning, match="deprecated"),
        pytest.raises(openai.BadRequestError, match="another seed") as caught,
    ):
        client.images.create_variation(image=b"\x89PNG")
    assert caught.value.param == "image"


@pytest.mark.parametrize("route", ["/v1/images/edits", "/v1/images/variations"])
def test_any_body_is_taken_within_the_limits(route: str, shared: Any) -> None:
    assert shared.client.post(route, json={"image": "AAAA", "prompt": "a"}).status_code == 400
    assert shared.client.post(route, content=b"").status_code == 400
    # The answer arrives though the body is large.
    assert shared.client.post(route, files={"image": b"\0" * 4 * 2**20}).json()["error"]["code"] == "unsupported_value"
    assert shared.client.post(route, content=b"\0" * 9 * 2**20).status_code == 413
    assert shared.client.get(route).status_code == 405
