"""The documents' commands, run as they stand, but for those that say what they need; and their links and tables."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import capacity

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted((ROOT / "docs").glob("*.md"))
NEEDS = ("needs a GPU", "needs a network", "needs a server", "needs a cluster", "needs root", "keeps running")


def commands(document: Path) -> list[str]:
    blocks = re.findall(r"```sh\n(.*?)```", document.read_text(), re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line.strip() and not line.startswith("#")]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.stem)
def test_commands_run_or_say_what_they_need(document: Path, tmp_path: Path) -> None:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    for line in commands(document):
        command, _, comment = line.partition("  #")
        if comment:
            assert comment.strip().startswith(NEEDS), line
            continue
        ended = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", command],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert ended.returncode == 0, (line, ended.stderr)


def test_some_commands_run() -> None:
    assert sum("  #" not in line for document in DOCUMENTS for line in commands(document)) >= 3


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.stem)
def test_links_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", document.read_text()):
        if not target.startswith(("http://", "https://")):
            assert (document.parent / target).exists(), target


def test_options_that_are_named_exist() -> None:
    from server.settings import Settings

    for document in DOCUMENTS:
        for name in re.findall(r"FLASHU_([A-Z_]+)", document.read_text()):
            assert name.lower() in Settings.model_fields, (document.name, name)


def test_capacity_is_as_the_costs_say(capsys: pytest.CaptureFixture[str]) -> None:
    assert capacity.main(["--check"]) == 0


def test_capacity_from_hand_computed_costs() -> None:
    cost = {
        "parameters": {"backbone": 10**9, "total": 2 * 10**9},
        "generation": {"total_with_vae": 100e12},
        "answer": {"vae_encode": 1e12, "features": 1e12, "prefill": 3e12},
    }
    card = capacity.Accelerator("card", rate=100e12, bandwidth=1e12, memory=10e9)
    assert capacity.picture_seconds(cost, card) == pytest.approx(2.0)
    tokens = 31 * 2e9 / 0.75e12
    assert capacity.answer_seconds(cost, card) == pytest.approx(0.1 + tokens)
    assert capacity.weight_bytes(cost) == 4 * 10**9
