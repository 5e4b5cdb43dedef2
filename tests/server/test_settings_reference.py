"""docs/settings.md matches the settings and the fixed limits, and lists all of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from server import limits, settings_reference
from server.settings import Settings, variable_of


def test_the_document_is_up_to_date() -> None:
    assert settings_reference.main(["--check"]) == 0


def test_a_stale_one_is_noticed_and_written_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "settings.md"
    monkeypatch.setattr(settings_reference, "FILE", file)
    assert settings_reference.main(["--check"]) == 1
    assert not file.exists()
    assert settings_reference.main([]) == 0
    assert settings_reference.main(["--check"]) == 0
    file.write_text(file.read_text().replace("8000", "8001"))
    assert settings_reference.main(["--check"]) == 1


def test_every_setting_has_its_row() -> None:
    rows = {line.split("|")[1].strip(): line for line in settings_reference.text().splitlines() if line.startswith("|")}
    for name in Settings.model_fields:
        cells = rows[f"`{variable_of(name)}`"].split("|")
        assert len(cells) == 7
        assert cells[5].strip()
    assert "| `--port` | `8000` | 0 to 65535 |" in rows["`FLASHU_PORT`"]
    assert "| `--hang-timeout` | `10.0` | above 0, to 3600 |" in rows["`FLASHU_HANG_TIMEOUT_S`"]
    assert "| `--log-format` | `text` | `json`, `text` |" in rows["`FLASHU_LOG_FORMAT`"]
    assert "| `--open-metrics`, `--no-open-metrics` | `true` |" in rows["`FLASHU_OPEN_METRICS`"]


def test_every_fixed_limit_has_its_row() -> None:
    rows = settings_reference.text().splitlines()
    names = [name for name in vars(limits) if name.isupper()]
    assert len(names) > 20
    for name in names:
        assert [row for row in rows if row.startswith(f"| `{name}` | {getattr(limits, name)} | ")], name
