"""The documentation site: links, navigation and what the built pages load."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from docs import site

# Everything an HTML page loads by itself; links that a reader follows are not among it.
LOADED = re.compile(r"<(?:script|img|iframe|source|video|audio)\b[^>]*\bsrc=\"?([^\" >]+)|<link\b([^>]*)>")
HREF = re.compile(r"href=\"?([^\" >]+)")


def navigation() -> Iterator[str]:
    def flat(entries: list[Any]) -> Iterator[str]:
        for entry in entries:
            for below in entry.values():
                yield from flat(below) if isinstance(below, list) else (below,)

    yield from flat(yaml.safe_load((site.ROOT / "mkdocs.yml").read_text())["nav"])


@pytest.mark.parametrize("path", site.pages())
def test_links_lead_somewhere(path: str) -> None:
    site.relinked(path)


def test_links_are_as_in_the_repository(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    files = {
        "README.md": "[a](docs/a.md#part) [b](decisions) ![c](docs/images/c.png) [d](https://example.org/docs/a.md)",
        "docs/a.md": "[home](../README.md) [code](../server/x.py) [here](#part)\n```\n[text](nowhere)\n```\n`[x](y)`",
        "decisions/README.md": "[run](../.ci/run)",
        "docs/images/c.png": "",
        "server/x.py": "",
        ".ci/run": "",
    }
    for path, text in files.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    monkeypatch.setattr(site, "ROOT", tmp_path)
    assert site.relinked("README.md") == (
        "[a](a.md#part) [b](decisions/README.md) ![c](images/c.png) [d](https://example.org/docs/a.md)",
        {"docs/a.md", "docs/images/c.png"},
    )
    assert site.relinked("docs/a.md")[0] == (
        "[home](index.md) [code](files/server/x.py) [here](#part)\n```\n[text](nowhere)\n```\n`[x](y)`"
    )
    assert site.relinked("decisions/README.md")[0] == "[run](../files/ci/run)"
    (tmp_path / "server/x.py").unlink()
    with pytest.raises(FileNotFoundError, match=r"docs/a\.md links to \.\./server/x\.py"):
        site.relinked("docs/a.md")


def test_every_page_is_in_the_navigation() -> None:
    listed = list(navigation())
    assert len(listed) == len(set(listed))
    # Single decisions are listed by their index.
    pages = {place for place in site.pages().values() if not re.match(r"decisions/\d", place)}
    assert set(listed) == pages


def test_every_decision_is_listed() -> None:
    index = (site.ROOT / "decisions/README.md").read_text()
    for decision in sorted((site.ROOT / "decisions").glob("*.md")):
        assert decision.name == "README.md" or f"]({decision.name})" in index, decision.name


def test_the_overview_lists_every_page() -> None:
    linked = {site.place_of(path) for path in site.relinked("docs/README.md")[1]}
    missing = set(navigation()) - linked - {"index.md", "overview.md", "decisions/did-not-pay.md"}
    assert not missing


@pytest.fixture(scope="module")
def built() -> list[Path]:
    """The pages of the site as `make docs` built it, before it ran these tests."""
    if os.environ.get("CHECK_DOCS") != "1":
        pytest.skip("needs the built site; run: make docs")
    return sorted(site.SITE.rglob("*.html"))


def test_every_page_is_built(built: list[Path]) -> None:
    names = {page.relative_to(site.SITE).as_posix() for page in built}
    for place in site.pages().values():
        folder = place.removesuffix(".md").removesuffix("README").removesuffix("index").strip("/")
        assert f"{folder}/index.html".lstrip("/") in names, place


def test_nothing_is_loaded_from_elsewhere(built: list[Path]) -> None:
    seen = 0
    for page in built:
        for source, attributes in LOADED.findall(page.read_text()):
            if attributes and "canonical" in attributes:
                continue
            href = HREF.search(attributes)
            loaded = source or (href[1] if href else "")
            seen += bool(loaded)
            assert not re.match(r"(https?:)?//", loaded), (page, loaded)
    assert seen
    for file in site.SITE.rglob("*.css"):
        assert not re.search(r"url\([\"']?(https?:)?//", file.read_text()), file


def test_the_python_api_is_shown_with_its_signatures(built: list[Path]) -> None:
    text = (site.SITE / "reference/python/index.html").read_text()
    assert 'id="flashu_core.Engine.generate"' in text
    assert 'id="flashu_core.GenerateRequest"' in text
    assert "num_inference_steps" in text
