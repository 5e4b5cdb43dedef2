"""Notices peers that have closed while nothing is read from them: what they sent before lies in the kernel, and their
end of file behind it. It knows file descriptors."""

from __future__ import annotations

import asyncio
import contextlib
import select
from collections.abc import Callable


class Hangups:
    """One epoll for all connections that are watched. Where there is none (not Linux) nothing is noticed."""

    def __init__(self) -> None:
        self._epoll = select.epoll() if hasattr(select, "epoll") else None
        self._callbacks: dict[int, Callable[[], None]] = {}

    def watch(self, fd: int, gone: Callable[[], None]) -> None:
        """Calls `gone` once when the peer has closed its side; on the running loop."""
        if self._epoll is None or fd < 0 or fd in self._callbacks:
            return
        if not self._callbacks:
            asyncio.get_running_loop().add_reader(self._epoll.fileno(), self._look)
        self._callbacks[fd] = gone
        self._epoll.register(fd, select.EPOLLRDHUP)

    def forget(self, fd: int) -> None:
        """Ends the watch, if there is one; before the descriptor is closed."""
        if self._epoll is None or self._callbacks.pop(fd, None) is None:
            return
        with contextlib.suppress(OSError):
            self._epoll.unregister(fd)
        if not self._callbacks:
            asyncio.get_running_loop().remove_reader(self._epoll.fileno())

    def _look(self) -> None:
        assert self._epoll is not None
        for fd, _ in self._epoll.poll(0):
            gone = self._callbacks.get(fd)
            self.forget(fd)
            if gone is not None:
                gone()
