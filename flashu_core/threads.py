"""How many threads a process computes with, and whether they spin while they wait for each other. OpenMP reads both
from the environment when torch is loaded, so they are chosen before; this module never imports torch.

OpenMP's threads spin between two parallel regions. Alone on its cores that is the fastest way to wait; beside any
other busy process the spinning threads burn the time that the working ones need, and one answer takes seconds.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, MutableMapping
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")
# Any of these is an operator's own choice of how threads wait.
_WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")


def configure_threads(threads: int | None = None, environ: MutableMapping[str, str] = os.environ) -> int:
    """Chooses the threads of numeric libraries for this process; returns how many each of them will use.

    The number is `threads`, else `OMP_NUM_THREADS`, else that of the CPUs this process may use. Threads that wait
    sleep, unless one of `OMP_WAIT_POLICY`, `GOMP_SPINCOUNT` and `KMP_BLOCKTIME` says how they should wait. Where torch
    is loaded already, only an explicit number is still applied.
    """
    if not any(environ.get(name) for name in _WAITING):
        environ["OMP_WAIT_POLICY"] = "PASSIVE"
        environ["KMP_BLOCKTIME"] = "0"
    if threads is not None:
        environ["OMP_NUM_THREADS"] = environ["MKL_NUM_THREADS"] = str(threads)
        if "torch" in sys.modules:
            sys.modules["torch"].set_num_threads(threads)
        return threads
    if not environ.get("OMP_NUM_THREADS"):
        environ["OMP_NUM_THREADS"] = str(available_cpus())
    first = environ["OMP_NUM_THREADS"].partition(",")[0].strip()  # of nested levels, the outermost
    return int(first) if first.isdecimal() else available_cpus()


def available_cpus(cgroup: Path = _CGROUP, usable: Callable[[], int] | None = None) -> int:
    """CPUs that this process may use: those of its affinity, or fewer where a container's quota is smaller.

    Part of a CPU does not count: a thread for it would be stopped for most of each period while the others wait for it.

    Args:
        cgroup: where the control groups are.
        usable: the number of CPUs in the affinity.
    """
    count = (usable or _affinity)()
    quota = _quota(cgroup)
    return count if quota is None else max(min(count, int(quota)), 1)


def _affinity() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _quota(cgroup: Path) -> float | None:
    """CPUs that the control group of a container allows, as version 2 or 1 tells; None where there is no limit."""
    try:
        allowed, period = (cgroup / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            allowed = (cgroup / "cpu" / "cpu.cfs_quota_us").read_text().strip()
            period = (cgroup / "cpu" / "cpu.cfs_period_us").read_text().strip()
        except OSError:
            return None
    if not (allowed.isdecimal() and period.isdecimal() and int(period) > 0):  # "max" and -1 are no limit
        return None
    return int(allowed) / int(period)
