"""The measurement for a GPU runs on a CPU too, without any package it does not promise to need."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks import gpu
from flashu_core.checkpoint.load import choose_dtype

SCRIPT = Path(gpu.__file__)
SMALL = [
    "--size",
    "tiny",
    "--acceleration",
    "exact",
    "--device",
    "cpu",
    "--num-inference-steps",
    "3",
    "--runs",
    "1",
    "--warm-up",
    "1",
]
SMALL += ["--reference-runs", "1", "--tokens", "3"]
# Fails on import of what a bare machine lacks, then runs the file as `python benchmarks/gpu.py` would.
BARE = """
import runpy, sys

missing = {"fastapi", "starlette", "pydantic", "typer", "rich", "uvicorn", "shapes", "server"}

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in missing:
            raise ModuleNotFoundError(name)

script = sys.argv.pop(1)
sys.meta_path.insert(0, Missing())
sys.path[0] = script.rpartition("/")[0]
sys.argv[0] = script
runpy.run_path(script, run_name="__main__")
"""


def test_it_runs_as_a_file_with_few_packages(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "error", "-c", BARE, str(SCRIPT), *SMALL]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["size"] == "tiny"


def test_it_reports_what_it_promises(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "made" / "gpu.json"
    assert gpu.main([*SMALL, "--batch", "2", "--out", str(out)]) == 0
    found = json.loads(out.read_text())
    assert found == json.loads(capsys.readouterr().out)
    generation = found["generation"]
    assert set(generation["components_ms"]) == {"prefix", "features", "backbone", "head", "guidance"}
    positive = {
        **generation["components_ms"],
        **{name: generation[name] for name in ("total_ms", "evaluation_ms", "reference_ms", "speedup")},
        **{name: generation[name] for name in ("vae_decode_ms", "total_with_vae_ms")},
        **found["answer"],
        **found["rates"],
        "tflops": found["step_tflops"],
        "share": found["share_of_matrix_rate"],
    }
    assert {"first_token_ms", "vae_encode_ms", "prefill_ms", "token_ms", "reference_token_ms"} <= set(found["answer"])
    assert all(value > 0 for value in positive.values()), positive
    assert sum(generation["components_ms"].values()) <= generation["total_ms"]
    assert found["memory"]["weights_bytes"] > 2 * found["parameters"]
    assert found["memory"]["generation_peak_bytes"] > 0
    assert found["flops"]["evaluation"] * 2 + found["flops"]["parts"]["prefix"] == found["flops"]["total"]
    dtype = str(choose_dtype("auto", torch.device("cpu"))).removeprefix("torch.")
    assert (found["batch"], found["dtype"], found["machine"]["device"]) == (2, dtype, "cpu")


def test_only_the_costliest_steps_are_compared_with_their_count() -> None:
    options = gpu._parser().parse_args([*SMALL, "--guidance-scale", "5"])
    counted, costliest = gpu._counted(options)
    assert costliest.guidance_scale == 5.0
    assert counted["evaluation"] <= counted["total"]
