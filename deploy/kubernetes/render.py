"""Writes the chart's generated files: the schema of `settings`, from `server.settings`, and the manifests of each set
of values, as `helm template` would. Needs no cluster and no helm; with `--check` it only compares."""

from __future__ import annotations

import argparse
import copy
import json
import sys
from pathlib import Path
from typing import Any

import helm_python

from server.settings import Settings

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
CHART = HERE / "flashu"
SCHEMA = CHART / "values.schema.json"
VALUES = tuple(sorted((HERE / "values").glob("*.yaml")))
RELEASE, NAMESPACE = "flashu", "flashu"
# Set by the chart itself, to match its probes, Service and Secret.
SET_BY_CHART = frozenset({"host", "port", "api_keys", "api_key_file"})
# Other values are computed from these, so they are required.
NEEDED = ("load_timeout_s", "shutdown_timeout_s", "max_queue_seconds")


def rendered(values: dict[str, Any], chart: Path = CHART) -> dict[str, str]:
    """The chart's manifests by the name of their template, without empty ones.

    Raises:
        helm_python.HelmError: the values do not match the schema, or a template rejects them.
    """
    with helm_python.Chart.load(chart) as loaded:
        loaded.validate_schema(values)
        files = loaded.render(values, name=RELEASE, namespace=NAMESPACE)
    return {name: text.strip() for name, text in sorted(files.items()) if text.strip() and not name.endswith(".txt")}


def manifest(file: Path) -> str:
    """All manifests of a set of values, as one YAML text."""
    documents = rendered(helm_python.values_from_yaml(file.read_text("utf-8")))
    parts = (f"---\n# Source: {name}\n{text.removeprefix('---').strip()}\n" for name, text in documents.items())
    return f"# Made by deploy/kubernetes/render.py of values/{file.name}; not to be edited.\n" + "".join(parts)


def schema() -> str:
    """The schema of values, with `settings` as the server defines them."""
    whole = json.loads(SCHEMA.read_text("utf-8"))
    whole["properties"]["settings"] = {
        "description": "Made by deploy/kubernetes/render.py of server/settings.py.",
        "type": "object",
        "additionalProperties": False,
        "required": list(NEEDED),
        "properties": {
            name: _plain(field)
            for name, field in Settings.model_json_schema()["properties"].items()
            if name not in SET_BY_CHART
        },
    }
    return json.dumps(whole, indent=2) + "\n"


def _plain(field: dict[str, Any]) -> dict[str, Any]:
    """A field without title, default, and null, which means "not given" to Helm."""
    plain = copy.deepcopy(field)
    for kind in plain.pop("anyOf", []):
        if kind != {"type": "null"}:
            plain.update(kind)
    return {key: value for key, value in plain.items() if key not in ("title", "default")}


def outputs() -> dict[Path, str]:
    """Expected content of each generated file."""
    return {SCHEMA: schema()} | {HERE / "rendered" / file.name: manifest(file) for file in VALUES}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a file is stale")
    check = parser.parse_args().check
    if not check:
        SCHEMA.write_text(schema(), "utf-8")  # first: rendering validates against it
    stale = 0
    for path, text in outputs().items():
        if path.exists() and path.read_text("utf-8") == text:
            continue
        stale += 1
        print(f"{path.relative_to(ROOT)} {'is stale' if check else 'written'}")
        if not check:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, "utf-8")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
