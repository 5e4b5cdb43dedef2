"""Writes what follows from other files: the chart's schema of settings, from `server.settings`, and the manifests of
each set of values, as `helm template` would. It needs no cluster and no helm; with `--check` it only compares."""

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
# What the chart sets itself: an address, a port or keys of a user's own would not fit its probes, Service and Secret.
SET_BY_CHART = frozenset({"host", "port", "api_keys", "api_key_file"})
# Other values are computed from these, so they may not be removed.
NEEDED = ("load_timeout_s", "shutdown_timeout_s", "max_queue_seconds")


def rendered(values: dict[str, Any], chart: Path = CHART) -> dict[str, str]:
    """The chart's manifests by the name of their template, those that came out empty left out.

    Raises:
        helm_python.HelmError: the values are not those of the schema, or a template refuses them.
    """
    with helm_python.Chart.load(chart) as loaded:
        loaded.validate_schema(values)
        files = loaded.render(values, name=RELEASE, namespace=NAMESPACE)
    return {name: text.strip() for name, text in sorted(files.items()) if text.strip() and not name.endswith(".txt")}


def manifest(file: Path) -> str:
    """All manifests of a set of values, as one text of YAML."""
    documents = rendered(helm_python.values_from_yaml(file.read_text("utf-8")))
    parts = (f"---\n# Source: {name}\n{text.removeprefix('---').strip()}\n" for name, text in documents.items())
    return f"# Made by deploy/kubernetes/render.py of values/{file.name}; not to be edited.\n" + "".join(parts)


def schema() -> str:
    """The schema of values, with `settings` as the server has them today."""
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
    """A field without what a chart has no use for: title, default, and null, which to Helm means "not given"."""
    plain = copy.deepcopy(field)
    for kind in plain.pop("anyOf", []):
        if kind != {"type": "null"}:
            plain.update(kind)
    return {key: value for key, value in plain.items() if key not in ("title", "default")}


def outputs() -> dict[Path, str]:
    """What each generated file should hold."""
    return {SCHEMA: schema()} | {HERE / "rendered" / file.name: manifest(file) for file in VALUES}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail where a file is not as it should be")
    check = parser.parse_args().check
    if not check:
        SCHEMA.write_text(schema(), "utf-8")  # first: what is rendered is checked against it
    stale = 0
    for path, text in outputs().items():
        if path.exists() and path.read_text("utf-8") == text:
            continue
        stale += 1
        print(f"{path.relative_to(ROOT)} {'is not as it should be' if check else 'written'}")
        if not check:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, "utf-8")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
