"""What is said where no route is."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.mark.parametrize(
    ("path", "right"),
    [
        ("/v1/chat/completion", "/v1/chat/completions"),
        ("/chat/completions", "/v1/chat/completions"),
        ("/v1/v1/chat/completions", "/v1/chat/completions"),
        ("/images/generations", "/v1/images/generations"),
        ("/v1/image/generation", "/v1/images/generations"),
        ("/models", "/v1/models"),
        ("/v1/Responses", "/v1/responses"),
        ("/healthz", "/health"),
        ("/v1//generate", "/v1/generate"),
    ],
)
def test_the_nearest_route_is_suggested(path: str, right: str, shared: Any) -> None:
    answer = shared.client.post(path, json={})
    assert answer.status_code == 404
    error = answer.json()["error"]
    assert (error["code"], error["message"]) == ("not_found", f"no such route; did you mean {right}?")


@pytest.mark.parametrize("path", ["/v1/embeddings", "/v1/audio/speech", "/wp-login.php", "/" + "v1/generate" * 1000])
def test_where_none_is_near_the_list_is_named(path: str, shared: Any) -> None:
    answer = shared.client.get(path)
    assert answer.status_code == 404
    assert answer.json()["error"]["message"] == "no such route; see /openapi.json for all routes"


def test_a_kept_pictures_address_that_leads_nowhere_says_so(shared: Any) -> None:
    answer = shared.client.get("/v1/images/files/" + "a" * 43)
    assert answer.status_code == 404
    assert "stored for an hour" in answer.json()["error"]["message"]
