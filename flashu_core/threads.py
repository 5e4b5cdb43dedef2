"""The number of compute threads of a process, and how they wait for each other. OpenMP reads both from the environment
when torch is loaded, so they are set before; this module never imports torch.

OpenMP's threads spin between two parallel regions, by default for milliseconds. That is fastest on idle cores; beside
another busy process, spinning threads take the time that working ones need, and an answer takes seconds. Threads that
sleep at once are woken too late for the next short region. So they spin for about as long as waking takes, and then
sleep.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")
# Setting any of these is the operator's choice of how threads wait. GNU's library spins as often as the second says,
# about 0.1 ms, under any policy; the passive policy keeps it from spinning with more threads than CPUs. LLVM's and
# Intel's libraries read the third.
_WAITING = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "2000", "KMP_BLOCKTIME": "0"}
# For a smaller model one thread is as fast as two: there is too little to compute between two synchronisations.
PARAMETERS_PER_THREAD = 8_000_000


@dataclass(frozen=True, slots=True)
class Threads:
    """The threads that numeric libraries use in this process.

    Attributes:
        count: threads of each library.
        chosen: the operator set the number; otherwise it follows from the machine.
    """

    count: int
    chosen: bool

    def fit(self, parameters: int) -> int:
        """Lowers the number to what a model of that size gains from, unless the operator chose it; returns the number.
        Call it once the model is loaded."""
        if self.chosen:
            return self.count
        count = max(min(self.count, parameters // PARAMETERS_PER_THREAD), 1)
        _apply(count)
        return count


def configure_waiting(environ: MutableMapping[str, str] = os.environ) -> None:
    """Makes waiting threads spin briefly and then sleep, unless one of OpenMP's own variables for that is set. No
    effect once torch is loaded."""
    if not any(environ.get(name) for name in _WAITING):
        environ.update(_WAITING)


def configure_threads(threads: int | None = None, environ: MutableMapping[str, str] = os.environ) -> Threads:
    """Sets the number of threads of numeric libraries in this process, and how they wait (`configure_waiting`).

    The number is `threads`, else `OMP_NUM_THREADS`, else the number of CPUs this process may use. Child processes
    inherit the variable and treat it as the operator's choice.
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
    """Sets the threads of torch, where it is loaded."""
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(threads)


def available_cpus(cgroup: Path = _CGROUP, usable: Callable[[], int] | None = None) -> int:
    """CPUs that this process may use: those of its affinity, or fewer where a container's quota is smaller.

    A fraction of a CPU does not count: a thread for it would be throttled in each period while the others wait for it.

    Args:
        cgroup: the folder of the control groups.
        usable: returns the number of CPUs in the affinity.
    """
    count = (usable or _affinity)()
    quota = _quota(cgroup)
    return count if quota is None else max(min(count, int(quota)), 1)


def _affinity() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _quota(cgroup: Path) -> float | None:
    """The CPU quota of a container's control group, version 2 or 1, in CPUs; None without a limit."""
    try:
        allowed, period = (cgroup / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            allowed = (cgroup / "cpu" / "cpu.cfs_quota_us").read_text().strip()
            period = (cgroup / "cpu" / "cpu.cfs_period_us").read_text().strip()
        except OSError:
            return None
    if not (allowed.isdecimal() and period.isdecimal() and int(period) > 0):  # "max" and -1 mean no limit
        return None
    return int(allowed) / int(period)
