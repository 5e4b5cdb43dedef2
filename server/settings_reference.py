"""The reference of the settings, made of their fields: `python -m server.settings_reference [--check]`. It knows how
they are told, not what they do."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from annotated_types import Ge, Gt, Le
from pydantic import SecretStr
from pydantic.fields import FieldInfo

from server.settings import Settings, option_of, variable_of

FILE = Path(__file__).parents[1] / "docs" / "settings.md"
_HEAD = """# Settings

Made by `python -m server.settings_reference` of the fields in [server/settings.py](../server/settings.py). An option of
`flashu serve` and `python -m server` wins over the environment variable, the variable over the default; an empty
variable is none. A variable with the prefix that is no setting is refused with the likeliest right name, so that no
slip is ignored; those that Kubernetes and Docker make for a service of the same name are left alone. What cannot be
used is told line by line, with status 2.

| variable | option | default | values | what it does |
| --- | --- | --- | --- | --- |
"""
_OTHERS_HEAD = """
## Variables of others

These are no settings of the server; it, or what it stands on, reads them.

| variable | what it does |
| --- | --- |
"""
_OTHERS = {
    "`OMP_NUM_THREADS`": "Threads that compute on the CPU, where the setting names no number; by default the CPUs that "
    "the process may use, by its affinity and its container's quota, and one for 8 million parameters at most.",
    "`OMP_WAIT_POLICY`, `GOMP_SPINCOUNT`, `KMP_BLOCKTIME`": "How threads wait for each other. Where none is set the "
    "process sets `OMP_WAIT_POLICY=PASSIVE`, `GOMP_SPINCOUNT=2000` and `KMP_BLOCKTIME=0`: they spin for 0.1 ms, "
    "then sleep and leave the CPU to a busy neighbour. `OMP_WAIT_POLICY=ACTIVE` lets them spin on.",
    "`HF_HOME`, `HF_HUB_OFFLINE`, `HF_TOKEN`": "Cache of models from the hub; whether it may be asked; a token for it "
    "(huggingface_hub).",
    "`XDG_CACHE_HOME`": "Folder of the user's cache, for a calibration that cannot be kept beside its checkpoint; by "
    "default `~/.cache`.",
    "`OTEL_TRACES_EXPORTER`, `OTEL_EXPORTER_OTLP_ENDPOINT`, `OTEL_SDK_DISABLED`, ...": "Traces, with the extra `otel` "
    "(OpenTelemetry).",
}


def text() -> str:
    """The whole document."""
    rows = "".join(_row(name, field) for name, field in Settings.model_fields.items())
    return _HEAD + rows + _OTHERS_HEAD + "".join(f"| {name} | {about} |\n" for name, about in _OTHERS.items())


def _row(name: str, field: FieldInfo) -> str:
    about = " ".join((field.description or "").split())
    cells = [f"`{variable_of(name)}`", _option(name, field), _default(field), _values(field), about]
    return f"| {' | '.join(cells)} |\n"


def _option(name: str, field: FieldInfo) -> str:
    if name == "model":
        return "the argument"
    option = option_of(name)
    if bool in (field.annotation, *get_args(field.annotation)):
        return f"`{option}`, `--no-{option.removeprefix('--')}`"
    return f"`{option}`"


def _default(field: FieldInfo) -> str:
    default = field.get_default()
    if isinstance(default, SecretStr):
        default = default.get_secret_value()
    if default is None or default == "":
        return ""
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"


def _values(field: FieldInfo) -> str:
    if get_origin(field.annotation) is Literal:
        return ", ".join(f"`{value}`" for value in get_args(field.annotation))
    bounds: dict[type, Any] = {type(one): one for one in field.metadata}
    low = f"{bounds[Ge].ge} to " if Ge in bounds else f"above {bounds[Gt].gt}, to " if Gt in bounds else ""
    return f"{low}{bounds[Le].le}" if low and Le in bounds else ""


def main(arguments: list[str] | None = None) -> int:
    """Writes the document, or with `--check` returns 1 where it is not as it would be written."""
    parser = argparse.ArgumentParser(prog="python -m server.settings_reference", description=__doc__)
    parser.add_argument("--check", action="store_true", help="only say whether it is up to date")
    check = parser.parse_args(arguments).check
    stale = not FILE.is_file() or FILE.read_text() != text()
    if stale and not check:
        FILE.write_text(text())
    print(f"{FILE.name} is {'up to date' if not stale else 'stale' if check else 'written'}")
    return int(check and stale)


if __name__ == "__main__":
    raise SystemExit(main())
