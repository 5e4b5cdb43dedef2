"""Settings from `FLASHU_*` variables and arguments; unknown and invalid ones are rejected."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from server.settings import Settings, SettingsError, read_settings


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


LINKS = {
    "SERVICE_HOST": "10.0.0.1",
    "SERVICE_PORT": "80",
    "SERVICE_PORT_HTTP": "80",
    "PORT": "tcp://10.0.0.1:80",
    "PORT_80_TCP": "tcp://10.0.0.1:80",
    "PORT_80_TCP_PROTO": "tcp",
    "PORT_80_TCP_PORT": "80",
    "PORT_80_TCP_ADDR": "10.0.0.1",
    "PORT_80_TCP_PORT_START": "80",
    "PORT_80_TCP_END": "tcp://10.0.0.1:90",
    "PORT_9_SCTP": "sctp://10.0.0.1:9",
    "NAME": "/web/{alias}",
    "ENV_GPG_KEY": "A0",
}


@pytest.mark.parametrize("alias", ["flashu", "flashu-server", "flashu_rate_limit"])
def test_variables_that_kubernetes_and_docker_make_for_a_service_are_left_alone(
    alias: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    prefix = alias.upper().replace("-", "_")
    for name, value in LINKS.items():
        monkeypatch.setenv(f"{prefix}_{name}", value.format(alias=alias))
    assert Settings() == Settings.model_construct()


def test_a_setting_beside_such_variables_counts_and_a_mistyped_one_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLASHU_SERVER_PORT", "tcp://10.0.0.1:80")
    monkeypatch.setenv("FLASHU_PORT", "9000")
    assert Settings().port == 9000
    monkeypatch.setenv("FLASHU_SERVER_PROT", "tcp")
    with pytest.raises(SettingsError, match="there is no setting FLASHU_SERVER_PROT"):
        read_settings()


def test_a_mistyped_name_gets_a_suggestion(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLASHU_PROT", "1")
    with pytest.raises(SettingsError, match=r"^there is no setting FLASHU_PROT; did you mean FLASHU_PORT\?$"):
        read_settings()


def test_all_invalid_settings_are_reported_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLASHU_PORT", "99999")
    with pytest.raises(SettingsError) as error:
        read_settings(dtype="x")
    port, dtype = sorted(str(error.value).splitlines(), reverse=True)
    assert port == "port (FLASHU_PORT or --port): must be less than or equal to 65535"
    assert dtype == "dtype (FLASHU_DTYPE or --dtype): must be 'auto', 'float32', 'bfloat16' or 'float16'"


def test_every_field_says_what_it_is() -> None:
    assert all(field.description for field in Settings.model_fields.values())
