"""How many threads are chosen, by whom, and that torch then has them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from flashu_core.threads import PARAMETERS_PER_THREAD, Threads, available_cpus, configure_threads, configure_waiting

ROOT = Path(__file__).parents[1]
WAITING = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "2000", "KMP_BLOCKTIME": "0"}


@pytest.fixture(autouse=True)
def _same_threads_afterwards() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_the_machine_chooses_where_nobody_does() -> None:
    environment: dict[str, str] = {}
    assert configure_threads(None, environment) == Threads(available_cpus(), chosen=False)
    assert environment == {"OMP_NUM_THREADS": str(available_cpus()), **WAITING}


def test_waiting_is_chosen_without_a_number() -> None:
    """A child process would take the number for somebody's choice."""
    environment: dict[str, str] = {}
    configure_waiting(environment)
    assert environment == WAITING


@pytest.mark.parametrize(
    ("parameters", "count"),
    [
        (0, 1),
        (PARAMETERS_PER_THREAD, 1),
        (2 * PARAMETERS_PER_THREAD - 1, 1),
        (2 * PARAMETERS_PER_THREAD, 2),
        (3 * PARAMETERS_PER_THREAD, 3),
        (1_500_000_000, 4),
    ],
)
def test_a_small_model_gets_fewer_threads(parameters: int, count: int) -> None:
    assert Threads(4, chosen=False).fit(parameters) == count
    assert torch.get_num_threads() == count


def test_a_number_that_was_chosen_stays() -> None:
    torch.set_num_threads(3)
    assert Threads(3, chosen=True).fit(1) == 3
    assert torch.get_num_threads() == 3


@pytest.mark.parametrize("name", ["OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"])
def test_an_operators_own_choices_stay(name: str) -> None:
    environment = {"OMP_NUM_THREADS": "7,2", name: "1"}
    assert configure_threads(None, environment) == Threads(7, chosen=True)
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
    ended = _run(program, OMP_DISPLAY_ENV="VERBOSE", **given)
    assert ended.stdout == f"{threads}\n"
    assert "OMP_WAIT_POLICY = 'PASSIVE'" in ended.stderr
    assert "GOMP_SPINCOUNT = '2000'" in ended.stderr


@pytest.mark.parametrize(("given", "threads"), [(None, 1), (2, 2)])
def test_the_embedded_model_is_served_by_one_thread_by_default(given: int | None, threads: int) -> None:
    program = (
        "from flashu_core import EngineConfig\n"
        "from server.worker.process import load_engine\n"
        "from server.ipc.protocol import Load\n"
        f"wanted = Load(model=None, engine=EngineConfig(), acceleration='flashu', log_level='info', threads={given})\n"
        "load_engine(wanted); import torch; print(torch.get_num_threads())"
    )
    assert _run(program).stdout == f"{threads}\n"


def _run(program: str, **changes: str) -> subprocess.CompletedProcess[str]:
    """In a process whose environment says nothing of threads but `changes`."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", *WAITING)
    environment = {name: value for name, value in os.environ.items() if name not in names}
    return subprocess.run(
        [sys.executable, "-c", program],
        env={**environment, "PYTHONPATH": str(ROOT), **changes},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
