"""The commands of the chart's README: those that need no cluster run; names in the others exist."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / "deploy" / "kubernetes" / "README.md").read_text("utf-8")


def snippets() -> list[tuple[bool, str]]:
    """README's commands, and whether they need a cluster."""
    found = re.findall(r"(?:^|\n)([^\n]*)\n+```sh\n(.*?)```", TEXT, re.DOTALL)
    return [(before.rstrip(":").endswith("(needs a cluster)"), script) for before, script in found]


def test_readme_says_which_commands_need_a_cluster() -> None:
    assert TEXT.count("```sh\n") == len(snippets())
    for needs_cluster, script in snippets():
        assert needs_cluster == bool(re.search(r"^\s*(helm|kubectl)\b", script, re.MULTILINE)), script


@pytest.mark.parametrize("script", [script for needs_cluster, script in snippets() if not needs_cluster])
def test_readmes_other_commands_run(chart: Any, script: str) -> None:
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    ended = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_readmes_values_are_values(chart: Any) -> None:
    """What README's `--set` and values files name is in the schema."""
    for needs_cluster, script in snippets():
        for options in re.findall(r"--set[= ](\S+)", script) if needs_cluster else []:
            with chart.helm.Chart.load(chart.render.CHART) as loaded:
                loaded.validate_schema(chart.helm.parse_set_string(options))
        for file in re.findall(r"deploy/kubernetes/values/\S+", script):
            assert (ROOT / file).is_file()
