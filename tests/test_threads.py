"""How many threads are chosen, by whom, and that torch then has them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from flashu_core.threads import available_cpus, configure_threads

ROOT = Path(__file__).parents[1]


def test_the_machine_chooses_where_nobody_does() -> None:
    environment: dict[str, str] = {}
    assert configure_threads(None, environment) == available_cpus()
    assert environment == {
        "OMP_NUM_THREADS": str(available_cpus()),
        "OMP_WAIT_POLICY": "PASSIVE",
        "KMP_BLOCKTIME": "0",
    }


@pytest.mark.parametrize("name", ["OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"])
def test_an_operators_own_choices_stay(name: str) -> None:
    environment = {"OMP_NUM_THREADS": "7,2", name: "1"}
    assert configure_threads(None, environment) == 7
    assert environment == {"OMP_NUM_THREADS": "7,2", name: "1"}


@pytest.mark.parametrize(
    ("files", "cpus"),
    [
        ({}, 8),
        ({"cpu.max": "max 100000\n"}, 8),
        ({"cpu.max": "250000 100000\n"}, 2),
        ({"cpu.max": "50000 100000\n"}, 1),
        ({"cpu.max": "9900000 100000\n"}, 8),
        ({"cpu.max": "nonsense"}, 8),
        ({"cpu/cpu.cfs_quota_us": "300000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 3),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 8),
    ],
)
def test_a_containers_quota_counts(files: dict[str, str], cpus: int, tmp_path: Path) -> None:
    (tmp_path / "cpu").mkdir()
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert available_cpus(tmp_path, lambda: 8) == cpus


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="there is no affinity")
@pytest.mark.parametrize(
    ("given", "threads"),
    [({}, 1), ({"OMP_NUM_THREADS": "2"}, 2), ({"OMP_NUM_THREADS": "1", "FLASHU_THREADS": "2"}, 2)],
)
def test_torch_has_what_was_chosen(given: dict[str, str], threads: int) -> None:
    """One CPU to run on; the library itself says how its threads wait."""
    program = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
        "from flashu_core.threads import configure_threads\n"
        "configure_threads(int(os.environ['FLASHU_THREADS']) if 'FLASHU_THREADS' in os.environ else None)\n"
        "import torch; print(torch.get_num_threads())"
    )
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
    environment = {name: value for name, value in os.environ.items() if name not in names}
    ended = subprocess.run(
        [sys.executable, "-c", program],
        env={**environment, "PYTHONPATH": str(ROOT), "OMP_DISPLAY_ENV": "TRUE", **given},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert ended.stdout == f"{threads}\n"
    assert "OMP_WAIT_POLICY = 'PASSIVE'" in ended.stderr
