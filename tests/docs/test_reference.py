"""The pages made of code are current and complete."""

from __future__ import annotations

from pathlib import Path

import pytest

import flashu_core
from docs.reference import __main__ as reference
from docs.reference import cli, http, metrics, python
from server.app import create_app
from server.settings import Settings


@pytest.mark.parametrize("page", reference.PAGES, ids=lambda page: page.stem)
def test_a_page_is_current(page: Path) -> None:
    assert page.read_text() == reference.PAGES[page](), "stale; write it with: python -m docs.reference"


def test_a_stale_page_is_noticed_and_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    monkeypatch.setattr(reference, "PAGES", {page: lambda: "text\n"})
    assert reference.main(["--check"]) == 1
    assert not page.exists()
    assert reference.main([]) == 0
    assert page.read_text() == "text\n"
    assert reference.main(["--check"]) == 0


def test_every_public_name_has_its_docstring_shown_once() -> None:
    shown = [line.removeprefix("::: flashu_core.") for line in python.text().splitlines() if line.startswith(":::")]
    assert sorted(shown) == sorted(flashu_core.__all__)


def test_every_command_is_shown() -> None:
    titles = [line for line in cli.text().splitlines() if line.startswith("#")]
    for command in ("generate", "understand", "plan", "serve", "eval", "bench serve", "bench capacity"):
        assert any(title.endswith(f" `flashu {command}`") for title in titles), command
    assert "`--num-inference-steps <int>`" in cli.text()


def test_every_route_and_field_is_shown() -> None:
    text = http.text()
    document = create_app(Settings.model_construct()).openapi()
    for path, methods in document["paths"].items():
        for method in methods:
            assert f"### `{method.upper()} {path}`" in text
    assert "| `num_inference_steps` | integer, 2 to 1000 |" in text
    assert "| `response_format` | `b64_json`, `binary` | `b64_json` |" in text


def test_every_metric_is_shown_with_its_labels() -> None:
    text = metrics.text()
    assert "| `flashu_component_seconds` | histogram | `component`, `policy`, `task` |" in text
    assert "| `flashu_accelerator_memory_bytes` | gauge | `kind` |" in text
    assert "| `flashu_gpu_memory_bytes` | gauge | `gpu`, `kind`, `uuid` |" in text
    assert "process_virtual_memory_bytes" not in text
