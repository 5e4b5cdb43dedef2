"""The three standard file descriptors. A service manager, or a shell with `2>&-`, may start a process without them."""

from __future__ import annotations

import os
import sys


def open_standard_streams() -> None:
    """Opens the closed ones of stdin, stdout and stderr on the null device.

    Otherwise the next file or socket would get a standard descriptor's number, and receive what is written there.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # opens the lowest free descriptor, which is this one
    if sys.stdin is None:
        sys.stdin = open(0, closefd=False)  # noqa: SIM115 - open as long as the process runs
    if sys.stdout is None:
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115
