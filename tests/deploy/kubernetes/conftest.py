"""The chart, rendered by Helm's own engine in Python and grouped by kind. Without the tools of the extra `ops` its
tests are skipped, or fail with CHECK_OPS=1."""

from __future__ import annotations

import importlib
import importlib.util
import os
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from server.settings import PREFIX, Settings

ROOT = Path(__file__).parents[3]
HERE = ROOT / "deploy" / "kubernetes"

Values = dict[str, Any]

OPEN: Values = {"keys": {"open": True}}
RULES = """
groups:
  - name: flashu
    rules:
      - alert: FlashuUnready
        expr: up == 0
        annotations: {summary: "{{ $labels.pod }} is down"}
"""
# All that the sets of values leave out, switched on.
EVERYTHING: Values = {
    "keys": {"values": {"team-a": "abcdefgh12"}},
    "image": {"digest": "sha256:" + "0" * 64, "pullSecrets": ["registry"]},
    "settings": {"model": "someone/show-o2", "remote_images": True},
    "nodeSelector": {"pool": "gpu"},
    "runtimeClassName": "nvidia",
    "podLabels": {"team": "a"},
    "podAnnotations": {"note": "1"},
    "hub": {"tokenSecret": {"name": "hub"}},
    "convert": {"enabled": True},
    "networkPolicy": {
        "extraEgress": [{"to": [{"podSelector": {}}], "ports": [{"port": 4318, "protocol": "TCP"}]}],
    },
    "cache": {"storageClass": "fast"},
    "extraEnv": [{"name": "OTEL_EXPORTER_OTLP_ENDPOINT", "value": "http://collector:4318"}],
    "monitoring": {
        "serviceMonitor": {"enabled": True, "bearerSecret": {"name": "scrape"}},
        "prometheusRule": {"enabled": True, "rules": RULES},
    },
}


class Chart:
    """What the chart makes of values."""

    open = OPEN
    everything = EVERYTHING
    rules = RULES

    def __init__(self) -> None:
        self.helm = _tool("helm_python")
        self.kubernetes_validate = _tool("kubernetes_validate")
        self.render: Any = _module("render", HERE / "render.py")
        self.sets: dict[str, Values] = {
            file.stem: self.helm.values_from_yaml(file.read_text("utf-8")) for file in self.render.VALUES
        }
        self.cases = {**self.sets, "defaults": self.open, "everything": self.everything}

    def rendered(self, values: Values) -> dict[str, str]:
        text: dict[str, str] = self.render.rendered(values)
        return text

    def documents(self, values: Values) -> list[dict[str, Any]]:
        return [one for text in self.rendered(values).values() for one in yaml.safe_load_all(text) if one]

    def find(self, values: Values, kind: str) -> list[dict[str, Any]]:
        return [one for one in self.documents(values) if one["kind"] == kind]

    def only(self, values: Values, kind: str) -> dict[str, Any]:
        (found,) = self.find(values, kind)
        return found

    def pod(self, values: Values) -> dict[str, Any]:
        template: dict[str, Any] = self.only(values, "Deployment")["spec"]["template"]
        return template

    def server(self, values: Values) -> dict[str, Any]:
        """The one container of the Deployment."""
        (container,) = self.pod(values)["spec"]["containers"]
        return dict(container)

    def variables(self, values: Values) -> dict[str, str]:
        entries = self.server(values)["env"]
        assert len({entry["name"] for entry in entries}) == len(entries)
        return {entry["name"]: entry.get("value", "") for entry in entries}

    def settings(self, values: Values, clean: pytest.MonkeyPatch) -> Settings:
        """What the server makes of the container's variables; it refuses those it does not know."""
        for name, value in self.variables(values).items():
            if name.startswith(PREFIX):
                clean.setenv(name, value)
        return Settings()


@pytest.fixture(scope="session")
def chart() -> Chart:
    return Chart()


@pytest.fixture(params=["a100", "h100-keda", "cpu", "defaults", "everything"])
def values(request: pytest.FixtureRequest, chart: Chart) -> Values:
    return chart.cases[request.param]


@pytest.fixture
def clean(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment without settings of ours."""
    for name in list(os.environ):
        if name.upper().startswith(PREFIX):
            monkeypatch.delenv(name)
    return monkeypatch


def _tool(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        reason = f"{name} is not installed: pip install -c constraints.txt -e '.[ops]'"
        if os.environ.get("CHECK_OPS") == "1":
            pytest.fail(reason)
        pytest.skip(reason)


def _module(name: str, file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
