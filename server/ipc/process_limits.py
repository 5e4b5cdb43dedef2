"""What a child process asks of the kernel for itself: to die with its parent, and bounds on memory and time. Where a
kernel lacks one of them, nothing happens: each is a second line behind what the parent does."""

from __future__ import annotations

import ctypes
import math
import re
import signal
import sys
from pathlib import Path

_PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """SIGKILL when the thread that started this process ends, whatever the process is doing then."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def limit_memory(size: int) -> None:
    """So many more bytes of address space than the process has now; beyond that it gets `MemoryError`."""
    if sys.platform == "linux":
        import resource  # Windows has no such module

        found = re.search(r"^VmSize:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
        if found:
            maximum = int(found[1]) * 1024 + size
            resource.setrlimit(resource.RLIMIT_AS, (maximum, maximum))


def limit_cpu(seconds: float) -> None:
    """So many seconds of CPU time from now on; the process is killed at the next whole second after that."""
    if sys.platform != "win32":
        import resource

        used = resource.getrusage(resource.RUSAGE_SELF)
        maximum = math.ceil(used.ru_utime + used.ru_stime + seconds) + 1
        resource.setrlimit(resource.RLIMIT_CPU, (maximum, resource.getrlimit(resource.RLIMIT_CPU)[1]))


def write_no_core() -> None:
    """A crash leaves no file with what was in memory."""
    if sys.platform != "win32":
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
