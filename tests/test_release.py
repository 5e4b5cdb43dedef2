"""A release is one version, in every form."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from server import __version__

ROOT = Path(__file__).parents[1]


def text(path: str) -> str:
    return (ROOT / path).read_text()


def test_the_package_and_the_server_agree() -> None:
    assert re.search(r'^version = "(.+)"$', text("pyproject.toml"), re.MULTILINE)[1] == __version__  # type: ignore[index]


def test_the_chart_and_the_citation_agree() -> None:
    chart = yaml.safe_load(text("deploy/kubernetes/flashu/Chart.yaml"))
    assert chart["version"] == chart["appVersion"] == __version__
    citation = yaml.safe_load(text("CITATION.cff"))
    assert citation["version"] == __version__
    assert citation["cff-version"] == "1.2.0"
    assert all(reference["url"].startswith("https://arxiv.org/abs/") for reference in citation["references"])


@pytest.mark.parametrize(
    "path",
    ["Dockerfile", "docker-compose.yml", "docker/README.md", "docs/releases.md"]
    + [f"deploy/kubernetes/rendered/{name}.yaml" for name in ("a100", "cpu", "h100-keda")],
)
def test_image_tags_agree(path: str) -> None:
    found = re.findall(r"(?:flashu-server:|ARG VERSION=|image: .*flashu-server:)(\d+\.\d+\.\d+)", text(path))
    assert found
    assert set(found) == {__version__}


def test_the_changelog_begins_with_this_version() -> None:
    versions = re.findall(r"^## (\S+)(?: - (\d{4}-\d{2}-\d{2}))?$", text("CHANGELOG.md"), re.MULTILINE)
    assert versions[0] == ("Unreleased", "")
    assert versions[1][0] == __version__
    assert versions[1][1] == str(yaml.safe_load(text("CITATION.cff"))["date-released"])


def test_the_notes_of_a_version_take_two_minutes_to_read() -> None:
    notes = text("CHANGELOG.md").split("\n## ")[2]
    assert notes.startswith(__version__)
    assert len(notes.split()) <= 560
