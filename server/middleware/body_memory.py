"""How many bytes of request bodies are held at once, over all requests. It knows counts, and which bodies are still
arriving; the bytes themselves are with those who read them."""

from __future__ import annotations

import asyncio
import ctypes

from server.errors import BodyMemoryError

_FREE = 64 * 1024  # bytes of a body that are not counted: short requests pass however full it is
_TRIM = 32 * 2**20  # bytes given back after which the allocator is asked to return its free pages


class BodyMemory:
    """A bound on the bytes of all bodies together.

    Where it is reached, the largest body that is still arriving has to go: whoever sends a lot and slowly makes room
    for the others, and not the other way round.

    Args:
        max_bytes: held at once; the first 64 KiB of each body come on top.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self._arriving: set[HeldBody] = set()
        self._given_back = 0
        self._trim = _allocator_trim()
        self.used = 0

    def open(self) -> HeldBody:
        """The account of one body; on the running loop."""
        held = HeldBody(self)
        self._arriving.add(held)
        return held

    def take(self, held: HeldBody, size: int) -> None:
        """Counts bytes of a body. See `HeldBody.add`."""
        while self.used + size > self.max_bytes:
            largest = max(self._arriving, key=lambda one: one.counted, default=None)
            if largest is None or largest is held or largest.counted <= held.counted:
                raise BodyMemoryError(self.max_bytes)
            largest.evict()
        self.used += size

    def arrived(self, held: HeldBody) -> None:
        """The body is whole; it keeps its bytes, and is no longer asked to go."""
        self._arriving.discard(held)

    def give_back(self, held: HeldBody, size: int) -> None:
        """Ends the account of a body that had `size` bytes counted."""
        self._arriving.discard(held)
        self.used -= size
        self._given_back += size
        if self._given_back >= _TRIM and self._trim is not None:
            self._given_back = 0
            # A little later: the bytes are gone when those who held them are. In a thread: it may take some time.
            loop = asyncio.get_running_loop()
            loop.call_later(0.2, loop.run_in_executor, None, self._trim, 0)


class HeldBody:
    """What one request holds of its body.

    Attributes:
        evicted: done when the request has to give up its body.
    """

    def __init__(self, memory: BodyMemory) -> None:
        self._memory = memory
        self._size = 0
        self.counted = 0
        self.evicted: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def add(self, size: int) -> None:
        """Counts bytes that arrived.

        Raises:
            BodyMemoryError: there is no room for them.
        """
        self._size += size
        more = max(self._size - _FREE, 0) - self.counted
        if more > 0:
            self._memory.take(self, more)
            self.counted += more

    def evict(self) -> None:
        """Gives the bytes back, and tells the request."""
        self.close()
        if not self.evicted.done():
            self.evicted.set_result(None)

    def complete(self) -> None:
        """No more will come."""
        self._memory.arrived(self)

    def close(self) -> None:
        """The bytes are no longer held; a second time changes nothing."""
        self._memory.give_back(self, self.counted)
        self.counted = 0


def _allocator_trim() -> ctypes._NamedFuncPointer | None:
    """glibc keeps what is freed in the middle of its heap, unless it is asked; other allocators have no such call."""
    return getattr(ctypes.CDLL(None), "malloc_trim", None)
