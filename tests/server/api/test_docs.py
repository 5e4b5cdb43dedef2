"""The files of the page at `/docs`: strict headers, no address outside this server, and the API key of the document."""

from __future__ import annotations

import re
from typing import Any

import httpx
import pytest

from server.api.assets import POLICY
from server.api.docs import DOCS_FILES


@pytest.mark.parametrize("path", sorted(DOCS_FILES))
def test_a_file_with_its_headers(path: str, shared: Any) -> None:
    answer: httpx.Response = shared.client.get(path)
    assert (answer.status_code, answer.headers["content-type"]) == (200, DOCS_FILES[path][2])
    assert answer.headers["content-security-policy"].split("; ") == list(POLICY)
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert len(answer.content) > 200
    cached = shared.client.get(path, headers={"if-none-match": answer.headers["etag"]})
    assert (cached.status_code, cached.content) == (304, b"")


def test_the_page_refers_to_its_own_files(shared: Any) -> None:
    page = shared.client.get("/docs").text
    references = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert {f"/{one}" for one in references} == set(DOCS_FILES) - {"/docs"}


def test_the_page_needs_a_key_where_the_document_does(toy: Any, serving: Any) -> None:
    with serving(toy(), api_keys="alice:sk-alice-5f0c9d1e7a") as live:
        live.wait_until_ready()
        for path in ("/openapi.json", *DOCS_FILES):
            assert live.client.get(path).status_code == 401
            assert live.client.get(path, headers={"authorization": "Bearer sk-alice-5f0c9d1e7a"}).status_code == 200
