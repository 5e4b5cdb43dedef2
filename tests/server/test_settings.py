"""Settings come from `FLASHU_*`; a mistyped one is refused."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from server.settings import Settings


def test_the_environment_and_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLASHU_PORT", "9000")
    monkeypatch.setenv("FLASHU_MAX_QUEUE", "3")
    settings = Settings(port=9001)
    assert (settings.port, settings.max_queue, settings.model) == (9001, 3, None)


@pytest.mark.parametrize(("name", "value"), [("FLASHU_PROT", "1"), ("FLASHU_PORT", "x"), ("FLASHU_MAX_BATCH", "0")])
def test_unknown_and_bad_ones_are_refused_by_name(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ValidationError, match=r"(?i)" + name.removeprefix("FLASHU_")):
        Settings()


def test_kubernetes_links_of_a_service_called_flashu_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SERVICE_HOST", "SERVICE_PORT", "SERVICE_PORT_HTTP", "PORT_80_TCP", "PORT_80_TCP_ADDR"):
        monkeypatch.setenv(f"FLASHU_{name}", "10.0.0.1")
    assert Settings().port == 8000


def test_every_field_says_what_it_is() -> None:
    assert all(field.description for field in Settings.model_fields.values())
