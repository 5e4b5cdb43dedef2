"""The playground's files as they are served: to everybody, with strict headers, referring to nothing outside."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from importlib.resources import files
from typing import Any

import httpx
import pytest

from server.api.playground import FILES
from server.middleware.keys import PAGE

DIRECTIVES = {
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'self' data: blob:",
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
    "require-trusted-types-for 'script'",
}


def test_every_file_of_the_page_is_served() -> None:
    assert {name for name, _ in FILES.values()} == {
        path.name for path in files("server").joinpath("ui").iterdir() if not path.name.startswith("docs.")
    }


@pytest.mark.parametrize("path", sorted(PAGE))
def test_a_file_with_its_headers(path: str, shared: Any) -> None:
    answer: httpx.Response = shared.client.get(path)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == FILES[path][1]
    assert set(answer.headers["content-security-policy"].split("; ")) == DIRECTIVES
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-cache"
    assert int(answer.headers["content-length"]) == len(answer.content) > 500
    head = shared.client.head(path)
    assert (head.status_code, head.content) == (200, b"")
    for name in ("content-type", "content-length", "etag", "content-security-policy"):
        assert head.headers[name] == answer.headers[name]
    assert shared.client.post(path, json={}).status_code == 405


@pytest.mark.parametrize("path", sorted(PAGE))
def test_a_file_that_is_held_is_not_sent_again(path: str, shared: Any) -> None:
    tag = shared.client.get(path).headers["etag"]
    assert re.fullmatch(r'"[0-9a-f]{32}"', tag)
    for given in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        answer = shared.client.get(path, headers={"if-none-match": given})
        assert (answer.status_code, answer.content) == (304, b"")
        assert answer.headers["etag"] == tag
        assert "content-security-policy" in answer.headers
    for given in ('"other"', tag.strip('"'), ""):
        assert shared.client.get(path, headers={"if-none-match": given}).status_code == 200


def test_the_files_differ_and_so_do_their_tags(shared: Any) -> None:
    assert len({shared.client.get(path).headers["etag"] for path in PAGE}) == len(PAGE)


def test_the_files_are_not_in_the_document(shared: Any) -> None:
    assert not PAGE & shared.client.get("/openapi.json").json()["paths"].keys()


class References(HTMLParser):
    """What a page refers to, and what it has inline."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.inline: list[str] = []
        self.identities: list[str] = []
        self._tag = ""

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self._tag = tag
        for name, value in attributes:
            if name in ("src", "href", "action", "srcset", "poster", "data", "formaction"):
                self.found.append(value or "")
            if name == "style" or name.startswith("on"):
                self.inline.append(name)
            if name == "id":
                self.identities.append(value or "")

    def handle_data(self, data: str) -> None:
        if self._tag in ("script", "style") and data.strip():
            self.inline.append(self._tag)


def test_the_page_refers_to_nothing_outside(shared: Any) -> None:
    page = References()
    page.feed(shared.client.get("/").text)
    assert not page.inline
    assert len(set(page.identities)) == len(page.identities)
    own = {f"/{reference}" for reference in page.found if not reference.startswith("data:")}
    assert own == {"/playground.css", "/playground.js"}
    style = shared.client.get("/playground.css").text
    assert not re.search(r"url\(|@import|https?:", style)
    for path in PAGE - {"/", "/playground.css"}:
        script = shared.client.get(path).text
        assert {f"/{name}" for name in re.findall(r'from "\./([^"]+)"', script)} <= PAGE
        assert not re.search(r"https?:|//[a-z]+\.|innerHTML|outerHTML|insertAdjacent|document\.write|Storage", script)
