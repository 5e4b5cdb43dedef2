"""The three standard descriptors of a process. A service manager, or a shell with `2>&-`, may start it without some."""

from __future__ import annotations

import os
import sys


def open_standard_streams() -> None:
    """Opens what is closed of stdin, stdout and stderr on the null device.

    Otherwise the next file or socket would get a standard descriptor's number, and with it whatever is written there.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free, which is this one
    if sys.stdin is None:
        sys.stdin = open(0, closefd=False)  # noqa: SIM115 - as long as the process
    if sys.stdout is None:
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115
