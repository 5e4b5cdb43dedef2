"""The command, and the results that were kept of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import cost
from flashu_core.acceleration.policies import POLICIES

RESULTS = sorted((Path(cost.__file__).parent / "results").glob("cost-*.json"))


@pytest.mark.parametrize("policy", POLICIES)
def test_the_command_prints_json(policy: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cost.main(["--size", "tiny", "--acceleration", policy, "--num-inference-steps", "5", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    parts = found["generation"]["parts"]
    assert set(parts) == {"prefix", "features", "backbone", "head", "vae_decode"}
    assert found["generation"]["total_with_vae"] == sum(parts.values())
    assert found["generation"]["total"] == sum(parts.values()) - parts["vae_decode"]
    assert found["reference"]["total"] == 4 * found["reference"]["evaluation"]
    assert found["policy"] == policy


def test_the_command_prints_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert cost.main(["--size", "tiny", "--num-inference-steps", "5"]) == 0
    assert "total without vae_decode" in capsys.readouterr().out


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_the_results_are_current(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kept = json.loads(path.read_text())
    assert cost.main(["--size", kept["size"], "--acceleration", kept["policy"], "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    for record in (kept, found):
        del record["machine"]
    assert found == kept
