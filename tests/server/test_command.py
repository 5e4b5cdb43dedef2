"""The command line of the server: an option for every setting, and one clean line for what cannot be used."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from pydantic import ValidationError
from typer.testing import CliRunner

import server.command
from server.settings import Settings, option_of, variable_of

ROOT = Path(__file__).parents[2]
MODULE = (sys.executable, "-m", "server")
COMMAND = (
    sys.executable,
    "-c",
    "import sys; sys.argv[0] = 'flashu'; from flashu_core.cli.main import main; main()",
    "serve",
)


def call(given: list[str], monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The settings that a command line leads to."""
    found: list[Settings] = []
    monkeypatch.setattr(server.command, "run", lambda settings: found.append(settings) or 0)
    app = typer.Typer()
    app.command()(server.command.serve)
    result = CliRunner().invoke(app, given)
    assert result.exit_code == 0, result.output
    return found[0]


def example(name: str) -> Any:
    """Another value of a setting than its default."""
    default = Settings.model_fields[name].get_default()
    if isinstance(default, (int, float)) and not isinstance(default, bool):
        return type(default)(default + 1)
    for value in (
        True,
        False,
        3,
        "json",
        "debug",
        "float16",
        "flash-attn",
        "60/minute",
        "/prefix",
        "a.example",
        "https://a",
    ):
        with contextlib.suppress(ValidationError):
            if (found := getattr(Settings(**{name: value}), name)) != default:
                return found
    raise AssertionError(f"add an example of {name}")


@pytest.mark.parametrize("name", [name for name in Settings.model_fields if name not in ("model", "api_keys")])
def test_every_setting_is_an_option(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    value = example(name)
    if isinstance(value, bool):
        given = [option_of(name) if value else f"--no-{option_of(name)[2:]}"]
    else:
        given = [option_of(name), str(value)]
    assert getattr(call(given, monkeypatch), name) == value
    assert getattr(call([], monkeypatch), name) == Settings.model_fields[name].get_default()


def test_the_model_is_an_argument_and_keys_may_come_again(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = call(["some/folder", "--api-key", "a:0123456789", "--api-key", "b:0123456789"], monkeypatch)
    assert settings.model == "some/folder"
    assert settings.api_keys.get_secret_value().split() == ["a:0123456789", "b:0123456789"]


@pytest.mark.parametrize("program", [MODULE, COMMAND], ids=["module", "flashu"])
@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("rate_limit", "abc", "rate_limit is 'abc'"),
        ("work_limit", "-1/hour", "work_limit"),
        ("api_keys", "short", "api_keys"),
        ("api_key_file", "/nowhere/keys", "api_key_file"),
        ("port", "x", "FLASHU_PORT or --port"),
        ("hang_timeout_s", "nan", "FLASHU_HANG_TIMEOUT_S or --hang-timeout"),
        ("prot", "1", "did you mean FLASHU_PORT?"),
        ("host", "1.2.3.4", "host is '1.2.3.4'"),
        ("host", "no such host", "host is 'no such host'"),
    ],
)
def test_what_cannot_be_used_is_clean_lines_and_status_2(
    program: tuple[str, ...], name: str, value: str, said: str, tmp_path: Path
) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), variable_of(name): value}
    ended = subprocess.run(
        [*program, "--port", "0"] if name not in ("port", "prot") else program,
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ended.returncode == 2
    lines = [line for line in ended.stderr.splitlines() if " WARNING " not in line]
    assert [line for line in lines if not line.startswith("flashu: ")] == []
    assert said in ended.stderr
    assert ended.stdout == ""
