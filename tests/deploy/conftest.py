"""The rules, the runbooks and the server's real metrics."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from server.app import create_app
from server.settings import Settings

ROOT = Path(__file__).parents[2]
_PROCESS = ("resident_memory_bytes", "cpu_seconds_total", "open_fds", "max_fds")
_GPU = {"flashu_gpu_utilization_ratio", "flashu_gpu_memory_bytes", "flashu_gpu_power_watts"}
_SUFFIXES = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "gauge": ("",)}


@pytest.fixture(scope="session")
def rules() -> list[dict[str, Any]]:
    """Every rule, of recordings and of alerts."""
    files = [yaml.safe_load(path.read_text()) for path in sorted((ROOT / "deploy/prometheus/rules").glob("*.yml"))]
    return [rule for file in files for group in file["groups"] for rule in group["rules"]]


@pytest.fixture(scope="session")
def families() -> dict[str, list[str]]:
    """The server's metrics: each family's own name, and the names of its samples."""
    text = create_app(Settings()).state.services.metrics.render().decode()
    found = {family.name: family.type for family in text_string_to_metric_families(text)}
    return {
        name: [name + suffix for suffix in _SUFFIXES[kind]]
        for name, kind in found.items()
        if name.startswith("flashu_")  # those of the process and of Python are the client library's
    }


@pytest.fixture(scope="session")
def known(families: dict[str, list[str]], rules: list[dict[str, Any]]) -> set[str]:
    """Every name that a query may have."""
    recorded = {rule["record"] for rule in rules if "record" in rule}
    # There when the worker runs, and where there is a GPU.
    others = {f"{prefix}process_{name}" for prefix in ("", "flashu_worker_") for name in _PROCESS} | _GPU
    return {"up"} | recorded | others | {name for names in families.values() for name in names}


@pytest.fixture(scope="session")
def metrics_of() -> Callable[[str], set[str]]:
    """The names of the metrics in an expression; fails where it is none."""

    def find(expr: str) -> set[str]:
        names = set()

        def visit(node: promql_parser.Expr) -> bool:
            if isinstance(node, promql_parser.VectorSelector):
                names.add(node.name)
            elif isinstance(node, promql_parser.MatrixSelector):
                names.add(node.vector_selector.name)
            return True

        promql_parser.walk(promql_parser.parse(expr), visit)
        return names

    return find


@pytest.fixture(scope="session")
def anchors() -> set[str]:
    """What links into the runbooks may name."""
    headings = re.findall(r"^#+ (.+)$", (ROOT / "docs/runbooks.md").read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}
