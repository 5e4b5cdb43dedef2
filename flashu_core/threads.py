"""How many threads a process computes with, and how they wait for each other. OpenMP reads both from the environment
when torch is loaded, so they are chosen before; this module never imports torch.

OpenMP's threads spin between two parallel regions, by default for milliseconds. Alone on its cores that is the fastest
way to wait; beside any other busy process the spinning threads burn the time that the working ones need, and one answer
takes seconds. Threads that sleep at once are woken too late for the next short region. So they spin for about as long
as it takes to wake one, and then sleep.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")
# Any of these is an operator's own choice of how threads wait. GNU's library spins so often, some 0.1 ms, whatever the
# policy; the policy keeps it from spinning where it has more threads than CPUs. LLVM's and Intel's read the third.
_WAITING = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "2000", "KMP_BLOCKTIME": "0"}
# Of a model of fewer, one thread takes as long as two: between two waits of each other there is too little to compute.
PARAMETERS_PER_THREAD = 8_000_000


@dataclass(frozen=True, slots=True)
class Threads:
    """The threads that numeric libraries use in this process.

    Attributes:
        count: of each library.
        chosen: by whoever runs the process, not by the machine.
    """

    count: int
    chosen: bool

    def fit(self, parameters: int) -> int:
        """Lowers the number to what a model of that size gains from, unless it was chosen; returns the number. To be
        called once the model is loaded."""
        if self.chosen:
            return self.count
        count = max(min(self.count, parameters // PARAMETERS_PER_THREAD), 1)
        _apply(count)
        return count


def configure_waiting(environ: MutableMapping[str, str] = os.environ) -> None:
    """Threads that wait spin for a moment and then sleep, unless one of OpenMP's own variables for that is set. Of no
    effect where torch is loaded already."""
    if not any(environ.get(name) for name in _WAITING):
        environ.update(_WAITING)


def configure_threads(threads: int | None = None, environ: MutableMapping[str, str] = os.environ) -> Threads:
    """Chooses the threads of numeric libraries for this process, and how they wait (`configure_waiting`).

    The number is `threads`, else `OMP_NUM_THREADS`, else that of the CPUs this process may use. Child
    processes inherit the variable, and take it for somebody's choice.
    """
    configure_waiting(environ)
    if threads is not None:
        environ["OMP_NUM_THREADS"] = environ["MKL_NUM_THREADS"] = str(threads)
        _apply(threads)
        return Threads(threads, chosen=True)
    first = environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()  # of nested levels, the outermost
    if first.isdecimal() and int(first) > 0:
        return Threads(int(first), chosen=True)
    count = available_cpus()
    environ["OMP_NUM_THREADS"] = str(count)
    _apply(count)
    return Threads(count, chosen=False)


def _apply(threads: int) -> None:
    """To torch, where it is loaded."""
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(threads)


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
