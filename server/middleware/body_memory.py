"""Counts the bytes of all request bodies that are in memory at once, and limits them."""

from __future__ import annotations

import asyncio
import ctypes

from server.errors import BodyMemoryError

_FREE = 64 * 1024  # bytes of a body that are not counted, so that short requests always pass
_TRIM = 32 * 2**20  # released bytes after which the allocator is asked to return its free pages


class BodyMemory:
    """A limit on the bytes of all bodies together.

    When it is reached, the largest body that is still arriving is evicted: clients that send much slowly give way to
    the others.

    Args:
        max_bytes: the limit; the first 64 KiB of each body are not counted.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self._arriving: set[HeldBody] = set()
        self._given_back = 0
        self._trim = _allocator_trim()
        self.used = 0

    def open(self) -> HeldBody:
        """Opens the account of one body; requires a running event loop."""
        held = HeldBody(self)
        self._arriving.add(held)
        return held

    def take(self, held: HeldBody, size: int) -> None:
        """Counts `size` more bytes of a body; see `HeldBody.add`."""
        while self.used + size > self.max_bytes:
            largest = max(self._arriving, key=lambda one: one.counted, default=None)
            if largest is None or largest is held or largest.counted <= held.counted:
                raise BodyMemoryError(self.max_bytes)
            largest.evict()
        self.used += size

    def arrived(self, held: HeldBody) -> None:
        """Marks a body as complete: its bytes still count, but it is no longer evicted."""
        self._arriving.discard(held)

    def give_back(self, held: HeldBody, size: int) -> None:
        """Ends the account of a body that had `size` bytes counted."""
        self._arriving.discard(held)
        self.used -= size
        self._given_back += size
        if self._given_back >= _TRIM and self._trim is not None:
            self._given_back = 0
            # A little later, when the buffers have been freed; in a thread, since it may take some time.
            loop = asyncio.get_running_loop()
            loop.call_later(0.2, loop.run_in_executor, None, self._trim, 0)


class HeldBody:
    """The account of one request's body.

    Attributes:
        counted: bytes that count towards the limit.
        evicted: done when the request must give up its body.
    """

    def __init__(self, memory: BodyMemory) -> None:
        self._memory = memory
        self._size = 0
        self.counted = 0
        self.evicted: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def add(self, size: int) -> None:
        """Counts bytes that arrived.

        Raises:
            BodyMemoryError: they would exceed the limit.
        """
        self._size += size
        more = max(self._size - _FREE, 0) - self.counted
        if more > 0:
            self._memory.take(self, more)
            self.counted += more

    def evict(self) -> None:
        """Releases the bytes and completes `evicted`."""
        self.close()
        if not self.evicted.done():
            self.evicted.set_result(None)

    def complete(self) -> None:
        """The whole body has arrived."""
        self._memory.arrived(self)

    def close(self) -> None:
        """Releases the bytes; idempotent."""
        self._memory.give_back(self, self.counted)
        self.counted = 0


def _allocator_trim() -> ctypes._NamedFuncPointer | None:
    """glibc's `malloc_trim`, which returns freed pages in the middle of the heap; None with other allocators."""
    return getattr(ctypes.CDLL(None), "malloc_trim", None)
